"""What networks make of the validation set, and the report of it."""
