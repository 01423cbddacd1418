"""Sending webhooks what they are to be told."""
