"""Compiled code, and how it is compiled: once a machine."""
