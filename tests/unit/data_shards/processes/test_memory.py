import subprocess
import sys

import pytest

LARGE = 200 << 20
SHOW = "from data_shards.processes.memory import peak_memory_bytes; print(peak_memory_bytes())"


def peak_of(program: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", f"{program}; {SHOW}"]))


def test_what_was_held_once_counts():
    assert LARGE < peak_of(f"held = b'x' * {LARGE}; del held") < 2 * LARGE


@pytest.mark.parametrize("posix_spawn", [False, True])
def test_a_child_begins_anew(posix_spawn):
    # Of a parent that holds much, whichever way it starts its child.
    parent = f"held = b'x' * {LARGE}; import subprocess, sys; "
    parent += f"subprocess._USE_POSIX_SPAWN = {posix_spawn}; "
    child = f"subprocess.run([sys.executable, '-c', {SHOW!r}], close_fds={not posix_spawn})"
    shown = subprocess.check_output([sys.executable, "-c", parent + child])
    assert 1 << 20 < int(shown) < LARGE
