"""The loop that compares store, run directories and Ray, and moves jobs on."""
