"""This process: its devices, how they compute, and its peers."""
