"""The warm process of a local Ray: how its processes reach it, what code it has, when it died."""

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path


def fork_socket(temp_dir: str) -> str:
    """Return where the warm process of the Ray in `temp_dir` listens."""
    return f"{temp_dir}/fork.sock"


def keeper(temp_dir: str) -> list[str]:
    """Return the command that keeps one there."""
    return [sys.executable, "-m", "trainer.warm.keeper", fork_socket(temp_dir)]


def launcher() -> list[str]:
    """Return the Python whose processes are forked from it; an ordinary one where it is not."""
    # By its place: it is of the trainer, which the service does not import.
    found = find_spec("trainer.warm.launcher")
    assert found is not None
    assert found.origin is not None
    return [sys.executable, "-I", "-S", found.origin]


def code_sha256() -> str:
    """Return a digest of which files attempts import, and of when they were written."""
    program = Path(launcher()[-1])
    files = [
        (str(file), file.stat().st_mtime_ns, file.stat().st_size)
        for package in ("trainer", "data_shards")
        for file in sorted((program.parents[2] / package).rglob("*.py"))
    ]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def deaths(temp_dir: str) -> list[str]:
    """Return what its keeper has noted of each of its deaths, for people."""
    try:
        return Path(f"{fork_socket(temp_dir)}.ended").read_text().splitlines()
    except OSError:
        return []
