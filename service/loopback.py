"""Hosts that are this machine itself, whatever the network around it is."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host, IPv6 without brackets, is reached within this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
