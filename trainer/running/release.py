"""Gives back what a driver that died has left reserved in Ray."""

import time

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group_table,
    remove_placement_group,
)

TIMEOUT_S = 60.0
_POLL_S = 0.1


class NotReleasedError(Exception):
    """Ray holds on to a placement group."""


def release_group(group_id: str) -> None:
    """Remove a placement group of this cluster by its id, in hexadecimal, and wait until it is.

    One that Ray does not know is none that is held. Raises NotReleasedError after a minute.
    """
    ray.init(address="auto", log_to_driver=False)
    group = PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group_id)))
    remove_placement_group(group)
    over_s = time.monotonic() + TIMEOUT_S
    while placement_group_table(group).get("state", "REMOVED") != "REMOVED":
        if time.monotonic() > over_s:
            raise NotReleasedError(f"placement group {group_id} is not removed in {TIMEOUT_S:g} s")
        time.sleep(_POLL_S)
