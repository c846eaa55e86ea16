"""A payload on a page: as a tree, as bytes, compared with another, and the path to each value."""
