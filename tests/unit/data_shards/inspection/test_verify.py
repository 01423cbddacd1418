import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.feeding.corrupt import CorruptReason
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.shard_check import (
    BytesDone,
    CorruptFound,
    SamplesDone,
    ShardCheck,
    ShardChecked,
    VerifierSetup,
)
from data_shards.inspection.verify import Findings, Problem, verify
from data_shards.manifest import Manifest, load_manifest
from data_shards.storage.folder import open_folder


def findings_of(location: object, *, decode: bool = False) -> Findings:
    return verify(
        open_set(str(location)),
        num_processes=1,
        decode=decode,
        on_bytes=lambda count: None,
        on_samples=lambda count: None,
    )


def problems_of(location: object) -> list[Problem]:
    return list(findings_of(location).problems)


def check_shard(folder: Path, number: int, *, decode: bool = False) -> list[Any]:
    """Examine one shard in this process; return all that the verifier said."""
    manifest = load_manifest(folder)
    index = np.load(folder / "index.npy")
    rows = index[index[:, 0] == number][:, 1:]
    setup = VerifierSetup(str(folder), manifest, decode=decode)
    return list(setup.open()(ShardCheck(manifest.shards[number], rows)))


def problem_of_shard(folder: Path, number: int) -> str:
    (problem,) = check_shard(folder, number)[-1].problems
    return problem


def test_a_sound_set_has_no_problems_and_all_of_it_is_examined(packed, real_processes):
    manifest = load_manifest(packed)
    sizes: list[int] = []
    samples: list[int] = []
    found = verify(
        open_set(str(packed)),
        num_processes=2,
        decode=True,
        on_bytes=sizes.append,
        on_samples=samples.append,
    )
    assert found == Findings((), ())
    assert sum(sizes) == manifest.size_bytes
    assert sum(samples) == manifest.num_samples


def test_every_damaged_file_is_named_in_order(own_copy):
    (own_copy / "train-000000.tar").unlink()
    os.truncate(own_copy / "train-000001.tar", 10_000)
    shard = own_copy / "train-000003.tar"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    (own_copy / "mean_image.npy").write_bytes(b"")
    (own_copy / "index.npy").unlink()
    # Of what may lie beside a set, only what looks like its shards.
    (own_copy / "train-000004.tar").write_bytes(b"")
    (own_copy / "validation-000000.tar").write_bytes(b"")
    (own_copy / "notes.txt").write_bytes(b"")
    assert [(each.file, each.problem.split(" where")[0]) for each in problems_of(own_copy)] == [
        ("train-000000.tar", "is missing"),
        ("train-000001.tar", "has 10000 bytes"),
        ("train-000003.tar", "does not have the manifest's sha256"),
        ("index.npy", "is missing"),
        ("mean_image.npy", "has 0 bytes"),
        (
            "train-000004.tar",
            "looks like a shard of this set, but the manifest does not name it",
        ),
    ]


def test_a_shard_that_may_not_be_read_is_named(own_copy):
    (own_copy / "train-000001.tar").unlink()
    # Nobody may read a folder as a file, not even root.
    (own_copy / "train-000001.tar").mkdir()
    (problem,) = problems_of(own_copy)
    assert problem == Problem("train-000001.tar", "cannot be read: Is a directory")


def rewrite(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("0.cls", b"1"), ("0.jpg", b"x")], "holds 1 samples where the manifest says 7"),
        (
            [(f"{n}.{s}", b"1") for n in range(7) for s in ("cls", "jpg")],
            "does not have its samples where the index says",
        ),
        ([("0.jpg", b"x"), ("0.cls", b"1")], "is no tar of ours: 0.jpg is not followed"),
        ([("0.cls", b"1")], "is no tar of ours: 0.cls is not followed"),
        ([("0.cls", b"one"), ("0.jpg", b"x")], "is no tar of ours: invalid literal"),
    ],
)
def test_a_tar_of_other_samples_is_found_though_its_digest_is_right(
    own_copy, seal, members, problem
):
    rewrite(own_copy / "train-000003.tar", members)
    seal(own_copy)
    assert problem_of_shard(own_copy, 3).startswith(problem)


def test_no_tar_at_all_is_found_though_its_digest_is_right(own_copy, seal):
    (own_copy / "train-000002.tar").write_bytes(b"no tar" * 1000)
    seal(own_copy)
    assert problem_of_shard(own_copy, 2) == "is no tar of ours: is no tar"


def test_an_index_of_other_classes_is_found_and_the_shards_still_examined(own_copy, seal):
    index = np.load(own_copy / "index.npy")
    index[4, 3] = 5
    np.save(own_copy / "index.npy", index)
    (own_copy / "train-000002.tar").write_bytes(b"no tar" * 1000)
    seal(own_copy)
    first, second = problems_of(own_copy)
    assert (first.file, second.file) == ("train-000002.tar", "index.npy")
    assert first.problem.startswith("is no tar of ours")
    assert second.problem.startswith("has the label 5 in train-000000.tar")


def test_sidecars_of_another_shape_are_found(own_copy, seal):
    np.save(own_copy / "index.npy", np.zeros((3, 4), dtype=np.int64))
    np.save(own_copy / "mean_image.npy", np.zeros((32, 32, 3), dtype=np.float64))
    seal(own_copy)
    assert problems_of(own_copy) == [
        Problem("index.npy", "holds int64 (3, 4)"),
        Problem("mean_image.npy", "holds float64 (32, 32, 3)"),
    ]


def test_a_mean_and_components_that_cannot_be_are_found(own_copy, seal):
    mean = np.load(own_copy / "mean_image.npy")
    mean[3, 4, 1] = np.nan
    np.save(own_copy / "mean_image.npy", mean)
    seal(own_copy)
    document = json.loads((own_copy / "manifest.json").read_text())
    document["rgb_pca"]["eigenvalues"] = [1.0, 2.0, 3.0]
    (own_copy / "manifest.json").write_text(json.dumps(document))
    assert problems_of(own_copy) == [
        Problem(
            "manifest.json", "has rgb_pca.eigenvalues that are negative or not in descending order"
        ),
        Problem("mean_image.npy", "holds values that are no numbers"),
    ]


def spoil(folder: Path, sample: int, content: bytes) -> None:
    """Write over the beginning of a sample's image."""
    shard, offset, _, _ = np.load(folder / "index.npy")[sample].tolist()
    with (folder / f"train-{shard:06d}.tar").open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_corrupt_images_are_counted_by_reason_and_shard(own_copy, seal):
    for sample in (1, 3, 12):
        spoil(own_copy, sample, b"no JPEG at all")
    # A right beginning, and then what no decoder can read.
    spoil(own_copy, 2, b"\xff\xd8\xff\xd9" + bytes(500))
    seal(own_copy)
    assert problems_of(own_copy) == []
    found = findings_of(own_copy, decode=True)
    first, second = "train-000000.tar", "train-000001.tar"
    assert found.corrupt == (
        CorruptFound(first, CorruptReason.BROKEN, 1, ("000000002",)),
        CorruptFound(first, CorruptReason.NOT_AN_IMAGE, 2, ("000000001", "000000003")),
        CorruptFound(second, CorruptReason.NOT_AN_IMAGE, 1, ("000000012",)),
    )
    assert found.problems == (
        Problem(first, "has 1 image that cannot be used, broken: 000000002"),
        Problem(first, "has 2 images that cannot be used, not_an_image: 000000001, 000000003"),
        Problem(second, "has 1 image that cannot be used, not_an_image: 000000012"),
    )


def test_a_shard_of_other_bytes_is_not_decoded(own_copy):
    spoil(own_copy, 1, b"no JPEG at all")
    said = check_shard(own_copy, 0, decode=True)
    assert {type(each) for each in said} == {BytesDone, ShardChecked}
    assert said[-1].problems == ("does not have the manifest's sha256",)
    assert SamplesDone(10) in check_shard(own_copy, 1, decode=True)


def as_indexed(folder: Path, shard: int, members: list[tuple[str, bytes]], rows: object) -> None:
    """Have a set be one that was indexed, with this shard and these rows of its index."""
    rewrite(folder / f"train-{shard:06d}.tar", members)
    index = np.load(folder / "index.npy")
    index[index[:, 0] == shard, 1:] = rows
    np.save(folder / "index.npy", index)
    document = json.loads((folder / "manifest.json").read_text())
    document["packing"]["source"] = "indexed-webdataset"
    (folder / "manifest.json").write_text(Manifest.model_validate(document).to_json())


def test_of_an_indexed_set_offsets_and_sizes_are_compared_by_key(own_copy, seal):
    images = [(f"a/{n}.{kind}", b"x" * n) for n in range(1, 8) for kind in ("JPG", "json")]
    rows = [(512 + 2048 * place, place + 1, 0) for place in range(7)]
    as_indexed(own_copy, 3, images, rows)
    seal(own_copy)
    assert check_shard(own_copy, 3)[-1].problems == ()
    # The member after an image is its label, in which no image lies.
    rows[2] = (512 + 2048 * 2 + 1024, 3, 0)
    as_indexed(own_copy, 3, images, rows)
    seal(own_copy)
    assert problem_of_shard(own_copy, 3) == (
        f"has no image of 3 bytes at byte {rows[2][0]}, where the index says"
    )


def upload(folder: Path, url: str) -> None:
    target = open_folder(url)
    for path in folder.iterdir():
        target.put(path, path.name)


def test_a_set_in_an_object_store_is_verified_there(own_copy, seal, bucket, real_processes):
    spoil(own_copy, 12, b"no JPEG at all")
    seal(own_copy)
    upload(own_copy, f"{bucket}/train")
    store = open_folder(f"{bucket}/train")
    store.delete("train-000000.tar")
    store.put_bytes(b"short", "mean_image.npy")
    store.put_bytes(b"", "train-000009.tar")
    found = findings_of(f"{bucket}/train/manifest.json", decode=True)
    assert [(each.file, each.problem.split(" where")[0]) for each in found.problems] == [
        ("train-000000.tar", "is missing"),
        ("train-000001.tar", "has 1 image that cannot be used, not_an_image: 000000012"),
        ("mean_image.npy", "has 5 bytes"),
        (
            "train-000009.tar",
            "looks like a shard of this set, but the manifest does not name it",
        ),
    ]
