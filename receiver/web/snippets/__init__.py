"""A delivery or a recorded request as code that can be pasted."""
