"""Looks into sets: programs that stand for `python -m data_shards`, but for one real set."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_shards.manifest import load_manifest
from service.ui.data_looks import LookError, Looks, is_installed, key_of
from tests.unit.trainer.running.packed import pack_pictures

KEY = "a" * 64
TELLS = """
import json, sys
print(json.dumps({"classes": [{"name": "cat", "num_samples": 2}], "problems": []}))
open(sys.argv[sys.argv.index("--contact-sheet") + 1], "wb").write(b"PNG")
open("RAN", "a").write(" ".join(sys.argv[-2:]) + "\\n")
"""


def program(text: str, folder: Path) -> Sequence[str]:
    return (sys.executable, "-c", text.replace("RAN", str(folder / "ran")))


def test_what_was_told_and_drawn_is_kept(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", program=program(TELLS, tmp_path))
    assert looks.found(KEY) is None
    assert looks.sheet(KEY) is None
    for _ in range(2):
        looks.take(KEY, "/data/manifest.json")
    found, sheet = looks.found(KEY), looks.sheet(KEY)
    assert found is not None
    assert [one.num_samples for one in found.classes] == [2]
    assert sheet is not None
    assert sheet.read_bytes() == b"PNG"
    assert (tmp_path / "ran").read_text() == "-- /data/manifest.json\n"


def test_what_the_program_complains_of_is_told(tmp_path: Path) -> None:
    complains = "import sys; sys.exit('Error: /data/index.npy is damaged; pack the images again')"
    looks = Looks(tmp_path, program=program(complains, tmp_path))
    with pytest.raises(LookError, match=r"^/data/index.npy is damaged"):
        looks.take(KEY, "/data")
    assert looks.found(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    waits = "import threading; threading.Event().wait()"
    looks = Looks(tmp_path, program=program(waits, tmp_path), timeout_s=0.5)
    with pytest.raises(LookError, match=r"took longer than 0\.5 s"):
        looks.take(KEY, "/data")


def test_one_that_wants_too_much_memory_gets_none(tmp_path: Path) -> None:
    wants = "held = []\nwhile True: held.append(bytearray(1 << 30))"
    with pytest.raises(LookError, match="MemoryError"):
        Looks(tmp_path, program=program(wants, tmp_path)).take(KEY, "/data")


def test_one_is_taken_at_a_time(tmp_path: Path) -> None:
    looks = Looks(tmp_path, program=program(TELLS, tmp_path))
    with looks._lock, pytest.raises(LookError, match="another set is being looked into"):
        looks.take(KEY, "/data")


@pytest.mark.parametrize("key", ["..", "../../etc", "A" * 64, "a" * 63])
def test_keys_name_nothing_else(tmp_path: Path, key: str) -> None:
    assert Looks(tmp_path).sheet(key) is None


def test_a_real_set_is_looked_into(tmp_path: Path) -> None:
    assert is_installed()
    file = pack_pictures(tmp_path)
    manifest = load_manifest(file)
    key = key_of(manifest, str(file))
    looks = Looks(tmp_path / "looks")
    looks.take(key, str(file))
    found, sheet = looks.found(key), looks.sheet(key)
    assert found is not None
    assert sum(one.num_samples or 0 for one in found.classes) == manifest.num_samples
    assert found.mean_colour is not None
    assert found.problems == ()
    assert sheet is not None
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert key_of(manifest, "/elsewhere") != key
