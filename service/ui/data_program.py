"""`python -m data_shards` as a process, which may decode images: bounded, and told no secret.

The control plane may not: what is here knows how that program is started and ended.
"""

import logging
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

logger = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "data_shards")
# Assumed: a set in an object store that is slow is looked at in a tenth of it.
TIMEOUT_S = 60.0
# Address space, of which numpy maps far more than it uses; assumed, for ImageNet's index and more.
_MAX_BYTES = 4 << 30
# Of one file that it writes: assumed, five times the index of ImageNet.
_MAX_FILE_BYTES = 256 << 20
# What it imports beyond the control plane's own: the extra `looks`.
NEEDED = ("braceexpand", "numpy", "PIL", "simplejpeg")
_LAST_WORDS = 600
# By what each kind of object store is read, and is told to no process that reads another.
_OF_STORES = {
    "s3": ("AWS_", "FSSPEC_S3"),
    "gs": ("GOOGLE_", "GCLOUD_", "FSSPEC_GS", "FSSPEC_GCS"),
    "az": ("AZURE_", "FSSPEC_AZ", "FSSPEC_ABFS"),
}
# The service's own, and PostgreSQL's, of the store.
_OF_SERVICE = ("ALEXNET_", "PG")


class LookError(RuntimeError):
    """A set cannot be looked into; the message says why and what to do."""


def is_installed() -> bool:
    """Whether this machine has what reads and draws images, the extra `looks`."""
    return all(find_spec(name) is not None for name in NEEDED)


def run(
    arguments: Sequence[str],
    told: Path,
    location: str,
    *,
    program: Sequence[str] = PROGRAM,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run the program on a set; return what it complained of.

    Its standard output goes into the file `told`. Raises LookError where it takes too long.
    """
    with told.open("wb") as output, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            env=_environment(os.environ, location),
        )
        try:
            _bound(process.pid, timeout_s)
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LookError(f"it took longer than {timeout_s:g} s, and was ended") from None
        finally:
            process.kill()
            process.wait()
        complaints.seek(0)
        words = complaints.read().decode(errors="replace").strip()
    if process.returncode:
        logger.warning("a look into %s ended with %s: %s", location, process.returncode, words)
    return words[-_LAST_WORDS:].removeprefix("Error: ")


def _environment(own: Mapping[str, str], location: str) -> dict[str, str]:
    """Return what a process may know that decodes what others made: no secret it does not need."""
    scheme, separator, _ = location.partition("://")
    mine = scheme if separator else ""
    stores = [of for store, of in _OF_STORES.items() if store != mine]
    secret = tuple(prefix for of in (_OF_SERVICE, *stores) for prefix in of)
    told = {name: own[name] for name in own if not name.startswith(secret)}
    # Of its threads each would map memory of its own.
    return {**told, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _bound(pid: int, seconds: float) -> None:
    """Let a process have so much memory and time, beside all else, though this one ends before."""
    os.setpriority(os.PRIO_PROCESS, pid, 10)
    # Linux alone lets another process be bounded.
    if hasattr(resource, "prlimit"):
        _lower(pid, resource.RLIMIT_AS, _MAX_BYTES)
        _lower(pid, resource.RLIMIT_CPU, int(seconds) + 1)
        _lower(pid, resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)


def _lower(pid: int, limit: int, value: int) -> None:
    _, hard = resource.prlimit(pid, limit)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, limit, (bound, bound))
