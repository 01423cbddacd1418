import json
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import webdataset

from data_shards.errors import PackError
from data_shards.images.square import square_of
from data_shards.manifest import load_manifest
from data_shards.packing import pack as packing
from data_shards.packing.pack import pack
from data_shards.packing.statistics import PixelSums
from data_shards.shards.sidecars import load_index, load_mean_image
from data_shards.sources.choose import open_source
from tests.unit.data_shards.packing.rehearsal import InlinePool


def run(request, out: Path, *, num_processes: int = 1, force: bool = False):
    counts: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        if num_processes == 1:
            # Quicker to start.
            patch.setattr(packing, "WorkerPool", InlinePool)
        report = pack(
            request, out, num_processes=num_processes, force=force, on_images=counts.append
        )
    return report.manifest, report.already_packed, sum(counts)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_plainly(folder: Path) -> list[dict[str, Any]]:
    urls = [str(folder / shard.name) for shard in load_manifest(folder).shards]
    return list(webdataset.WebDataset(urls, shardshuffle=False))


# webdataset leaves its files for the garbage collector to close.
leaves_files_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leaves_files_open
def test_plain_webdataset_reads_every_image(packed, image_folder):
    manifest = load_manifest(packed)
    assert [shard.num_samples for shard in manifest.shards] == [10, 10, 10, 7]
    assert [each.synset for each in manifest.classes] == [
        None,
        None,
        "n00000003",
        "n00000004",
        None,
    ]
    samples = read_plainly(packed)
    assert [sample["__key__"] for sample in samples] == [f"{n:09d}" for n in range(37)]
    # Each picture of the source is there once, under its label.
    source = open_source(image_folder, "train")
    squares = np.array(
        [square_of(source.reader.read(path), 32) for path, _ in source.samples], dtype=int
    )
    found = set()
    for sample in samples:
        decoded = simplejpeg.decode_jpeg(sample["jpg"]).astype(int)
        nearest = int(np.abs(squares - decoded).mean(axis=(1, 2, 3)).argmin())
        assert source.samples[nearest][1] == int(sample["cls"])
        found.add(nearest)
    assert len(found) == 37
    labels = [int(sample["cls"]) for sample in samples]
    assert labels == load_index(packed, manifest)[:, 3].tolist()
    assert labels != sorted(labels)


def test_statistics_are_of_the_squares(packed, image_folder):
    manifest = load_manifest(packed)
    source = open_source(image_folder, "train")
    images = np.array([square_of(source.reader.read(path), 32) for path, _ in source.samples])
    mean = load_mean_image(packed, manifest)
    np.testing.assert_allclose(mean, images.mean(axis=0), rtol=1e-6)
    variance = images.reshape(-1, 3).var(axis=0).sum()
    assert sum(manifest.rgb_pca.eigenvalues) == pytest.approx(variance)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_the_same_bytes_whatever_the_number_of_processes(
    packed, request_for, tmp_path, num_processes
):
    _, present, counted = run(request_for(), tmp_path / "out", num_processes=num_processes)
    assert not present
    assert counted == 37
    assert contents(tmp_path / "out") == contents(packed)


@leaves_files_open
def test_seed_limit_and_encoding_do_what_they_say(packed, request_for, tmp_path):
    raw, _, _ = run(request_for(encoding="raw", limit=7, seed=2), tmp_path / "raw")
    assert raw.num_samples == 7
    assert raw.packing.limit == 7
    assert raw.packing.quality is None
    for sample in read_plainly(tmp_path / "raw"):
        assert len(sample["rgb"]) == 32 * 32 * 3
    index = load_index(tmp_path / "raw", raw)
    assert (index[:, 2] == 32 * 32 * 3).all()
    assert index[:, 3].tolist() != load_index(packed, load_manifest(packed))[:7, 3].tolist()


def test_a_second_run_finds_the_work_done_and_another_is_refused(request_for, own_copy):
    before = contents(own_copy)
    manifest, present, counted = run(request_for(), own_copy)
    assert present
    assert counted == 0
    assert manifest == load_manifest(own_copy)
    with pytest.raises(PackError, match=r"seed 1 \(asked: 3\), quality 90 \(asked: 91\)"):
        run(request_for(quality=91, seed=3), own_copy)
    with pytest.raises(PackError, match=r"images 37 \(asked: 5\)"):
        run(request_for(limit=5), own_copy)
    assert contents(own_copy) == before
    manifest, present, _ = run(request_for(limit=5), own_copy, force=True)
    assert not present
    assert sorted(contents(own_copy)) == [
        "index.npy",
        "manifest.json",
        "mean_image.npy",
        "train-000000.tar",
    ]


def copied(image_folder: Path, folder: Path) -> Path:
    return Path(shutil.copytree(image_folder, folder))


def test_other_images_in_the_same_numbers_are_not_taken_for_packed(
    image_folder, request_for, own_copy, tmp_path
):
    # A copy is the same source, wherever it lies.
    source = copied(image_folder, tmp_path / "images")
    assert run(request_for(source=open_source(source, "train")), own_copy)[1]
    before = contents(own_copy)
    (source / "ant" / "0.png").write_bytes((source / "ant" / "1.png").read_bytes())
    with pytest.raises(PackError, match=r"packed otherwise: other images.*; choose another folder"):
        run(request_for(source=open_source(source, "train")), own_copy)
    (source / "ant").rename(source / "asp")
    with pytest.raises(PackError, match="packed otherwise: other classes"):
        run(request_for(source=open_source(source, "train")), own_copy)
    assert contents(own_copy) == before
    assert not run(request_for(source=open_source(source, "train")), own_copy, force=True)[1]
    assert contents(own_copy) != before


def test_a_copy_without_its_times_gives_the_same_bytes(image_folder, request_for, packed, tmp_path):
    source = copied(image_folder, tmp_path / "images")
    for path in source.rglob("*"):
        os.utime(path, ns=(7, 7))
    run(request_for(source=open_source(source, "train")), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(packed)


def test_force_removes_the_shards_of_the_set_that_lay_there(request_for, own_copy):
    (own_copy / "notes.txt").write_text("not ours")
    run(request_for(split="validation", limit=15), own_copy, force=True)
    assert sorted(contents(own_copy)) == [
        "index.npy",
        "manifest.json",
        "mean_image.npy",
        "notes.txt",
        "validation-000000.tar",
        "validation-000001.tar",
    ]


def test_force_that_is_cut_short_can_be_repeated(request_for, own_copy, monkeypatch):
    unlink = Path.unlink

    def dying(path: Path, missing_ok: bool = False) -> None:
        if path.name == "train-000002.tar":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(KeyboardInterrupt):
        run(request_for(split="validation"), own_copy, force=True)
    monkeypatch.undo()
    assert (own_copy / "train-000003.tar").exists()
    run(request_for(split="validation"), own_copy, force=True)
    assert not list(own_copy.glob("train-*"))


def test_each_file_is_on_disk_before_it_has_its_name_and_the_manifest_comes_last(
    request_for, tmp_path, monkeypatch
):
    done: list[tuple[str, str]] = []
    replace = Path.replace

    def renaming(path: Path, target: Path) -> Path:
        done.append(("name", target.name))
        return replace(path, target)

    def syncing(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    monkeypatch.setattr(Path, "replace", renaming)
    monkeypatch.setattr(os, "fsync", syncing)
    run(request_for(limit=10), tmp_path / "out", num_processes=2)
    assert done == [
        ("sync", "begun.json.part"),
        ("name", "begun.json"),
        ("sync", ".packing"),
        # Its own process has synced the shard, and then its record.
        ("sync", "index.npy"),
        ("sync", "mean_image.npy"),
        ("sync", "manifest.json"),
        ("name", "train-000000.tar"),
        ("name", "index.npy"),
        ("name", "mean_image.npy"),
        ("sync", "out"),
        ("name", "manifest.json"),
        ("sync", "out"),
    ]


def test_the_sums_of_finished_shards_are_not_held(request_for, tmp_path, monkeypatch):
    held: list[weakref.ref[PixelSums]] = []
    most: list[int] = []
    add = PixelSums.add

    def counting(total: PixelSums, other: PixelSums) -> None:
        held.append(weakref.ref(other))
        most.append(sum(each() is not None for each in held))
        add(total, other)

    monkeypatch.setattr(PixelSums, "add", counting)
    run(request_for(samples_per_shard=1), tmp_path / "out", num_processes=2)
    assert len(held) == 37
    # The one added, and the one before in a variable.
    assert max(most) <= 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: (out / "train-000001.tar").unlink(), "000001.tar is missing or not whole"),
        (lambda out: os.truncate(out / "index.npy", 9), "index.npy is missing or not whole"),
        (lambda out: (out / "manifest.json").unlink(), "shards without a manifest"),
        (lambda out: (out / "manifest.json").write_text("{"), "set that cannot be read"),
    ],
)
def test_a_damaged_set_is_not_taken_for_finished(request_for, own_copy, damage, message):
    damage(own_copy)
    with pytest.raises(PackError, match=message):
        run(request_for(), own_copy)


def test_unreadable_images_are_counted_and_left_out(image_folder, request_for, tmp_path):
    source = Path(shutil.copytree(image_folder, tmp_path / "images"))
    # A whole class of rubbish, and two more.
    for path in (source / "wasp").iterdir():
        path.write_bytes(b"rubbish")
    (source / "ant" / "0.png").write_bytes(b"")
    manifest, _, counted = run(
        request_for(source=open_source(source, "train"), samples_per_shard=1), tmp_path / "out"
    )
    assert counted == 37
    assert manifest.num_samples == 32
    assert manifest.packing.skipped == {"unreadable": 5}
    assert {(image.path, image.reason) for image in manifest.packing.skipped_images} == {
        ("ant/0.png", "unreadable"),
        *((f"wasp/{number}.png", "unreadable") for number in range(4)),
    }
    # Their shards would be empty, so there are none; labels keep their numbers.
    assert len(manifest.shards) == 32
    assert len(list((tmp_path / "out").glob("*.tar"))) == 32
    assert len(manifest.classes) == 5
    assert load_index(tmp_path / "out", manifest)[:, 3].max() == 3


def test_the_first_skipped_images_are_named_whatever_the_number_of_processes(
    image_folder, request_for, tmp_path
):
    source = copied(image_folder, tmp_path / "images")
    for path in [*(source / "bee").iterdir(), *(source / "n00000004").iterdir()][1:]:
        path.write_bytes(b"rubbish")
    (source / "ant" / "0.png").rename(source / "ant" / os.fsdecode(b"\xff.png"))
    (source / "ant" / os.fsdecode(b"\xff.png")).write_bytes(b"rubbish")
    opened = open_source(source, "train")
    records = [
        run(
            request_for(source=opened, samples_per_shard=3),
            tmp_path / str(count),
            num_processes=count,
        )[0].packing
        for count in (1, 3)
    ]
    assert records[0] == records[1]
    assert records[0].skipped == {"unreadable": 20}
    assert len(records[0].skipped_images) == 20
    assert r"ant/\xff.png" in [image.path for image in records[0].skipped_images]
    (source / "wasp" / "0.png").write_bytes(b"rubbish")
    more, _, _ = run(request_for(source=open_source(source, "train")), tmp_path / "more")
    assert more.packing.skipped == {"unreadable": 21}
    assert len(more.packing.skipped_images) == 20


def test_nothing_is_left_when_nothing_could_be_read(request_for, tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"rubbish")
    source = open_source(tmp_path / "images", "train")
    with pytest.raises(PackError, match="none of the 1 images could be read"):
        run(request_for(source=source), tmp_path / "out")
    assert not contents(tmp_path / "out")


def test_work_left_by_a_killed_run_is_cleared(request_for, packed, tmp_path):
    work = tmp_path / "out" / ".packing"
    work.mkdir(parents=True)
    (work / "train-000000.tar").write_bytes(b"half")
    run(request_for(), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(packed)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["version"] == 1
