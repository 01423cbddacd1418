"""What can be packed, a module each."""
