"""Looks into sets: programs that stand for `python -m data_shards`, but for one real set."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_shards.manifest import load_manifest
from service.ui.data_looks import LookError, Looks, is_installed, key_of
from tests.unit.trainer.running.packed import pack_pictures

KEY = "a" * 64
BATCH: dict[str, float] = {"seed": 0, "epoch": 0, "step": 0, "streams": 8, "window": 4}
BATCH |= {"batch": 128, "image_size": 72, "crop_size": 64, "colour": 0.1}
BATCH |= {"num_shown": 32, "num_images": 50}
TELLS = f"""
import json, sys
if sys.argv[1] == "batch":
    print(json.dumps({BATCH}))
    open(sys.argv[-1], "wb").write(b"BATCH")
else:
    print(json.dumps({{"classes": [{{"name": "cat", "num_samples": 2}}], "problems": []}}))
    open(sys.argv[sys.argv.index("--contact-sheet") + 1], "wb").write(b"PNG")
open("RAN", "a").write(" ".join(sys.argv[sys.argv.index("--") :][:2]) + "\\n")
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
    batch, drawn = looks.batch(KEY), looks.drawn_batch(KEY)
    assert batch is not None
    assert batch.read_bytes() == b"BATCH"
    assert drawn is not None
    assert drawn.model_dump() == BATCH
    assert (tmp_path / "ran").read_text() == "-- /data/manifest.json\n" * 2


def test_a_batch_that_cannot_be_drawn_hides_nothing_else(tmp_path: Path) -> None:
    fails = TELLS.replace(
        "import json, sys",
        "import json, sys\nsys.argv[1] == 'batch' and sys.exit('Error: no step')",
    )
    looks = Looks(tmp_path / "looks", program=program(fails, tmp_path))
    looks.take(KEY, "/data")
    assert looks.sheet(KEY) is not None
    assert (looks.batch(KEY), looks.drawn_batch(KEY)) == (None, None)
    assert looks.why_no_batch(KEY) == "no step"


def test_of_what_is_not_trained_on_no_batch_is_drawn(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", program=program(TELLS, tmp_path))
    for _ in range(2):
        looks.take(KEY, "/data", draws_batch=False)
    assert (looks.batch(KEY), looks.why_no_batch(KEY)) == (None, "")
    assert (tmp_path / "ran").read_text() == "-- /data\n"
    # One that was kept without is looked at anew where one is wanted.
    looks.take(KEY, "/data")
    assert looks.batch(KEY) is not None


def test_what_the_program_complains_of_is_told(tmp_path: Path) -> None:
    complains = "import sys; sys.exit('Error: /data/index.npy is damaged; pack the images again')"
    looks = Looks(tmp_path, program=program(complains, tmp_path))
    with pytest.raises(LookError, match=r"^/data/index.npy is damaged"):
        looks.take(KEY, "/data")
    assert looks.found(KEY) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/data", {"PATH"}),
        ("s3:/data", {"PATH"}),
        ("s3://a/b", {"PATH", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}),
        ("gs://a/b", {"PATH", "GOOGLE_APPLICATION_CREDENTIALS"}),
        ("az://a/b", {"PATH", "AZURE_STORAGE_ACCOUNT_KEY"}),
    ],
)
def test_the_program_is_told_no_secret_that_it_does_not_need(
    tmp_path: Path, location: str, told: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "ALEXNET_STORE_URL",
        "ALEXNET_TOKEN",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_STORAGE_ACCOUNT_KEY",
    )
    for name in names:
        monkeypatch.setenv(name, "secret")
    says = (
        "import json, os, sys\n"
        "known = [n for n in os.environ if n == 'PATH' or os.environ[n] == 'secret']\n"
        "sys.exit(json.dumps(known))"
    )
    with pytest.raises(LookError) as refused:
        Looks(tmp_path, program=program(says, tmp_path)).take(KEY, location)
    assert set(json.loads(str(refused.value))) & {*names, "PATH"} == told


def test_one_that_failed_is_tried_again_after_five_minutes_alone(tmp_path: Path) -> None:
    at = [0.0]
    fails = "import sys; open('RAN', 'a').write('x'); sys.exit('damaged')"
    ran = tmp_path / "ran"
    looks = Looks(tmp_path / "looks", program=program(fails, tmp_path), clock=lambda: at[0])
    for moment, words, times in (
        (0.0, "damaged", 1),
        (299.0, r"damaged \(try again in 1 s\)", 1),
        (301.0, "damaged", 2),
    ):
        at[0] = moment
        with pytest.raises(LookError, match=rf"^{words}$"):
            looks.take(KEY, "/data")
        assert len(ran.read_text()) == times
    with pytest.raises(LookError, match=r"^damaged$"):
        looks.take("b" * 64, "/data")


def test_one_that_draws_nothing_is_not_repeated_at_once(tmp_path: Path) -> None:
    tells = (
        "import sys; open('RAN', 'a').write(sys.argv[1] + ' ')\n"
        'print(\'{"classes": [], "problems": ["damaged"]}\')'
    )
    looks = Looks(tmp_path / "looks", program=program(tells, tmp_path))
    for _ in range(2):
        looks.take(KEY, "/data")
    found = looks.found(KEY)
    assert found is not None
    assert found.problems == ("damaged",)
    assert (tmp_path / "ran").read_text() == "inspect batch "


def test_what_a_killed_process_left_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", program=program(TELLS, tmp_path))
    old, new = (tmp_path / "looks" / name for name in (".new-old", ".new-new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 7200,) * 2)
    looks.take(KEY, "/data")
    assert not old.exists()
    assert new.exists()


def test_one_that_writes_too_much_cannot(tmp_path: Path) -> None:
    writes = "open('RAN', 'wb').truncate(257 << 20)"
    with pytest.raises(LookError, match="File too large"):
        Looks(tmp_path, program=program(writes, tmp_path)).take(KEY, "/data")


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    waits = "import threading; threading.Event().wait()"
    looks = Looks(tmp_path, program=program(waits, tmp_path), timeout_s=0.5)
    with pytest.raises(LookError, match=r"took longer than 0\.5 s"):
        looks.take(KEY, "/data")


def test_one_that_wants_too_much_memory_gets_none(tmp_path: Path) -> None:
    wants = "bytearray(1 << 40)"
    with pytest.raises(LookError, match="MemoryError"):
        Looks(tmp_path, program=program(wants, tmp_path)).take(KEY, "/data")


def test_one_is_taken_at_a_time(tmp_path: Path) -> None:
    looks = Looks(tmp_path, program=program(TELLS, tmp_path))
    with looks._lock, pytest.raises(LookError, match="another set is being looked into"):
        looks.take(KEY, "/data")


@pytest.mark.parametrize("key", ["..", "../../etc", "A" * 64, "a" * 63])
def test_keys_name_nothing_else(tmp_path: Path, key: str) -> None:
    looks = Looks(tmp_path)
    assert (looks.sheet(key), looks.batch(key), looks.drawn_batch(key)) == (None, None, None)


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
    batch, drawn = looks.batch(key), looks.drawn_batch(key)
    assert batch is not None
    for picture in (sheet, batch):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawn is not None
    assert (drawn.crop_size, drawn.image_size, drawn.num_images) == (64, 72, 50)
    assert key_of(manifest, "/elsewhere") != key
