"""Looks into sets: programs that stand for `python -m data_shards`, but for one real set."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from data_shards.manifest import load_manifest
from service.ui import data_looks
from service.ui.data_batch import options_of
from service.ui.data_looks import Looks, batch_key, key_of
from service.ui.data_program import LookError, is_installed
from tests.unit.service.conftest import make_spec
from tests.unit.trainer.running.packed import NUM_IMAGES, pack_pictures

KEY = "a" * 64
BATCH: dict[str, Any] = {"seed": 0, "epoch": 0, "step": 0, "streams": 8, "window": 4}
BATCH |= {"batch": 128, "image_size": 72, "crop_size": 64, "colour": 0.1, "recipe": "paper"}
BATCH |= {"random_crop": True, "mirror": False, "num_shown": 32, "num_images": 50}
OPTIONS = ("--seed", "7", "--no-mirror")
TELLS = f"""
import json, sys
if sys.argv[1] == "batch":
    print(json.dumps({BATCH}))
    open(sys.argv[-1], "wb").write(b"BATCH")
else:
    print(json.dumps({{"classes": [{{"name": "cat", "num_samples": 2}}], "problems": []}}))
    open(sys.argv[sys.argv.index("--contact-sheet") + 1], "wb").write(b"PNG")
open("RAN", "a").write(" ".join(sys.argv[1:-1]) + "\\n")
"""


def repeated(letter: str) -> str:
    return letter * 64


def program(text: str, folder: Path) -> Sequence[str]:
    return (sys.executable, "-c", text.replace("RAN", str(folder / "ran")))


def take(looks: Looks) -> None:
    looks.take(KEY, "/data")


def draw(looks: Looks) -> None:
    looks.draw(KEY, "/data", OPTIONS)


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
    assert (tmp_path / "ran").read_text().count("inspect") == 1
    assert (tmp_path / "ran").read_text().count("\n") == 1
    assert looks.batch(KEY) is None


def test_a_batch_is_drawn_as_it_is_asked_for_and_kept(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", program=program(TELLS, tmp_path))
    for _ in range(2):
        looks.draw(KEY, "/data/manifest.json", OPTIONS)
    batch, drawn = looks.batch(KEY), looks.drawn_batch(KEY)
    assert batch is not None
    assert batch.read_bytes() == b"BATCH"
    assert drawn is not None
    assert drawn.model_dump() == BATCH
    asked = "batch --json --seed 7 --no-mirror -- /data/manifest.json\n"
    assert (tmp_path / "ran").read_text() == asked
    assert looks.sheet(KEY) is None


def test_each_batch_is_kept_by_set_owner_and_options() -> None:
    keys = {
        batch_key(of_set, whose, options)
        for of_set in (KEY, "b" * 64)
        for whose in ("job:1", "preset:small")
        for options in ((), OPTIONS)
    }
    assert len(keys) == 8
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("asked", [take, draw])
def test_what_the_program_complains_of_is_told(
    tmp_path: Path, asked: Callable[[Looks], None]
) -> None:
    complains = "import sys; sys.exit('Error: /data/index.npy is damaged; pack the images again')"
    looks = Looks(tmp_path, program=program(complains, tmp_path))
    with pytest.raises(LookError, match=r"^/data/index.npy is damaged"):
        asked(looks)
    assert (looks.found(KEY), looks.batch(KEY)) == (None, None)
    assert list(tmp_path.iterdir()) == []


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
    assert (tmp_path / "ran").read_text() == "inspect "


def test_what_a_killed_process_left_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", program=program(TELLS, tmp_path))
    old, new = (tmp_path / "looks" / name for name in (".new-old", ".new-new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 7200,) * 2)
    looks.take(KEY, "/data")
    assert not old.exists()
    assert new.exists()


def test_batches_drive_out_older_batches_and_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_looks, "_MAX_KEPT", 2)
    folder = tmp_path / "looks"
    looks = Looks(folder, program=program(TELLS, tmp_path))
    sets, batches = (list(map(repeated, letters)) for letters in ("abc", "def"))
    for age_s, (one, batch) in enumerate(zip(sets[:2], batches[:2], strict=True)):
        looks.take(one, "/data")
        looks.draw(batch, "/data", OPTIONS)
        for key in (one, batch):
            os.utime(folder / key, (time.time() - 60 + age_s,) * 2)
    looks.draw(batches[2], "/data", OPTIONS)
    assert [looks.batch(key) is not None for key in batches] == [False, True, True]
    assert [looks.sheet(key) is not None for key in sets] == [True, True, False]
    looks.take(sets[2], "/data")
    assert [looks.batch(key) is not None for key in batches] == [False, True, True]
    assert [looks.sheet(key) is not None for key in sets] == [False, True, True]


def test_one_is_taken_at_a_time(tmp_path: Path) -> None:
    looks = Looks(tmp_path, program=program(TELLS, tmp_path))
    for asked in (take, draw):
        with looks._lock, pytest.raises(LookError, match="another set is being looked into"):
            asked(looks)


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
    spec = make_spec(
        model={"input_size": 64}, optim={"global_batch_size": 16}, augment={"mirror": False}
    )
    options = options_of(spec, 6, num_samples=NUM_IMAGES)
    key_of_batch = batch_key(key, "job:1", options)
    looks.draw(key_of_batch, str(file), options)
    batch, drawn = looks.batch(key_of_batch), looks.drawn_batch(key_of_batch)
    assert batch is not None
    for picture in (sheet, batch):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawn is not None
    assert (drawn.crop_size, drawn.image_size, drawn.batch) == (64, 72, 16)
    # Of four steps an epoch.
    assert (drawn.epoch, drawn.step, drawn.mirror) == (1, 2, False)
    assert key_of(manifest, "/elsewhere") != key
