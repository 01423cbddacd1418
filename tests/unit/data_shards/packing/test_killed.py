"""Real processes that are killed, stopped, or left no room."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from data_shards.errors import PackError
from data_shards.packing.folder_lock import locked
from data_shards.storage.folder import open_folder
from data_shards.storage.location import is_url
from tests.unit.data_shards.packing.noted_packing import NUM_PROCESSES, SHARD_SIZE
from tests.unit.data_shards.packing.rehearsal import contents

NUM_IMAGES = 150
PROGRAM = [
    *(sys.executable, "-c"),
    "import sys; from tests.unit.data_shards.packing import noted_packing as packing;"
    "packing.main(*sys.argv[1:])",
]


@pytest.fixture(scope="module")
def many_images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("many")
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 30, 30, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        folder = root / f"class-{number % 3}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(each).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def undisturbed(many_images, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*PROGRAM, many_images, out / "set", out / "notes"], check=True)
    assert len(lines(out / "notes")) == NUM_IMAGES
    return contents(open_folder(out / "set"))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs the right to do so")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture
def place(request, tmp_path, monkeypatch) -> str:
    """A location of a kind, and a cache of the user that is ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return request.getfixturevalue("bucket") if request.param == "store" else str(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "place"),
    [("alone", "folder"), ("with packers", "folder"), ("with packers", "store")],
    indirect=["place"],
)
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    many_images, undisturbed, tmp_path, kill, place
):
    folder = open_folder(place)
    moments = random.Random(kill)
    # It takes seconds to begin with a store.
    kills = 2 if is_url(place) else 3
    for number in range(kills):
        # Fewer than are left, though packers that are left alone end what they are at.
        kill_at = moments.randint(1, 25)
        notes = tmp_path / f"notes-{number}"
        command = [*PROGRAM, many_images, place, notes, kill, str(kill_at)]
        killed = subprocess.run(command, start_new_session=True, check=False)
        assert killed.returncode == -signal.SIGKILL
        # Without its manifest it is no set, and that comes last.
        assert not folder.exists("manifest.json")
    subprocess.run([*PROGRAM, many_images, place, tmp_path / "notes-last"], check=True)
    assert contents(folder) == undisturbed
    read = [line for notes in tmp_path.glob("notes-*") for line in lines(notes)]
    assert len(set(read)) == NUM_IMAGES
    assert len(read) <= NUM_IMAGES + kills * NUM_PROCESSES * SHARD_SIZE
    assert not [path for path in (tmp_path / "cache").glob("*/packing/*/*") if path.is_file()]


@pytest.fixture(scope="module")
def slow_source(tmp_path_factory) -> Path:
    """Three hundred pictures that take a tenth of a second each."""
    folder = tmp_path_factory.mktemp("slow") / "class"
    folder.mkdir()
    Image.new("L", (4000, 4000)).save(folder / "0.png", compress_level=1)
    for number in range(1, 300):
        os.link(folder / "0.png", folder / f"{number}.png")
    return folder.parent


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_keeps_finished_shards_and_leaves_no_process(
    slow_source, tmp_path, still_running, end
):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data_shards", "pack", str(slow_source), str(out)]
    options = ["--split", "train", "--samples-per-shard", "6", "--processes", "2"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        parent = psutil.Process(process.pid)
        while not list(out.glob(".packing/*.record")):
            assert process.poll() is None
        with (
            pytest.raises(PackError, match="another process is packing"),
            locked(out, str(out), wait_s=0),
        ):
            pass
        children = parent.children(recursive=True)
        assert len(children) == 2
        process.send_signal(end)
        _, told = process.communicate(timeout=20)
    assert not still_running(children)
    assert not list(out.glob("[!.]*"))
    left = {path.name for path in (out / ".packing").iterdir()}
    shards = {name for name in left if name.endswith(".tar")}
    finished = {name.removesuffix(".record") for name in left if name.endswith(".record")}
    assert finished
    assert finished <= shards
    if end == signal.SIGKILL:
        return
    assert process.returncode == 130
    assert finished == shards
    kept = re.search(r"Stopped; ([0-9]+) of 50 shards are finished and kept for .*/out: ", told)
    assert kept is not None
    assert int(kept[1]) == len(finished)
    assert told.endswith("the same command, without --force, goes on with them\n")


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_finished_shards_and_room_lets_it_go_on(
    small_disk, many_images, tmp_path
):
    command = [sys.executable, "-m", "data_shards", "pack", str(many_images), "--split", "train"]
    options = ["--size", "24", "--samples-per-shard", "10", "--processes", "2", "--json"]
    whole = tmp_path / "whole"
    subprocess.run([*command, whole, *options], check=True, capture_output=True)
    full = subprocess.run(
        [*command, small_disk / "out", *options], capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    assert not full.stdout
    told = full.stderr[full.stderr.index("Error: ") :]
    assert re.search(r"train-0000\d\d\.tar\S* cannot be written: No space left on device; ", told)
    kept = re.search(r"^([0-9]+) of 15 shards are finished and kept", told, re.MULTILINE)
    assert kept is not None
    assert int(kept[1]) >= 3
    assert not (small_disk / "out" / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    done = subprocess.check_output([*command, small_disk / "out", *options])
    assert json.loads(done)["shards_of_earlier_run"] >= int(kept[1])
    assert contents(open_folder(small_disk / "out")) == contents(open_folder(whole))
