"""Webhooks: what they are told, how it is signed, and where it may be sent. Pure."""
