"""Which tests of faults run in a row, and which begin first, where several run at a time."""

from pathlib import PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# One of each alone takes minutes: whatever ends last is to be short.
_FIRST = ("test_kills", "test_store_outages", "test_whole_api", "test_full_disks")
# Each has a Ray of its own, and what that leaves in shared memory is looked for.
_RAY = ("test_kills", "test_out_of_memory")
# Of these each test has services of its own.
_SHARE_NOTHING = (
    "test_whole_api",
    "test_full_disks",
    "test_control_plane_deaths",
    "test_two_control_planes",
    "test_bombs",
)


def group(nodeid: str) -> str:
    """Return what a test runs in a row with: its file, the attacks, or what starts a Ray."""
    path = PurePath(nodeid.partition("::")[0])
    if path.stem in _SHARE_NOTHING:
        return nodeid
    if path.stem in _RAY:
        return "ray"
    return str(path.parent if path.parent.name == "attacks" else path)


def place(nodeid: str) -> int:
    """Return where a test stands, those first that take longest."""
    stem = PurePath(nodeid.partition("::")[0]).stem
    return _FIRST.index(stem) if stem in _FIRST else len(_FIRST)


class Beside(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process a group when it has almost done with those before."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        """Take groups in the order of the tests, not by how many are in each."""
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
