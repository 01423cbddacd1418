"""Whether a set is whole, and what is in it."""
