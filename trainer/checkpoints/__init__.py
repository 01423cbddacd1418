"""Checkpoints: written, named by a spec, begun with, deleted."""
