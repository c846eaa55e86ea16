"""Everything between a delivery and its row on disk: accepted, refused, quarantined, diagnosed, reinstated."""
