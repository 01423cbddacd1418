"""A trained network as one file for use elsewhere."""
