"""What lies in a packed set beside its manifest."""
