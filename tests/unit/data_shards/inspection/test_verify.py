import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_shards.inspection.verify import Problem, ShardCheck, VerifierSetup, verify
from data_shards.manifest import load_manifest
from data_shards.shards.index import map_index


def problems_of(folder: Path) -> list[Problem]:
    return verify(folder, load_manifest(folder), num_processes=1, on_bytes=lambda count: None)


def problem_of_shard(folder: Path, number: int) -> Problem | None:
    """Examine one shard in this process."""
    manifest = load_manifest(folder)
    index = map_index(folder / "index.npy")
    rows = index[index[:, 0] == number][:, 1:]
    *_, checked = VerifierSetup(folder, "jpg").check(ShardCheck(manifest.shards[number], rows))
    return checked.problem


def test_a_sound_set_has_no_problems_and_every_byte_is_digested(packed):
    counts: list[int] = []
    manifest = load_manifest(packed)
    assert verify(packed, manifest, num_processes=2, on_bytes=counts.append) == []
    assert sum(counts) == manifest.size_bytes


def test_every_damaged_file_is_named_in_order(own_copy):
    (own_copy / "train-000000.tar").unlink()
    os.truncate(own_copy / "train-000001.tar", 10_000)
    shard = own_copy / "train-000003.tar"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    (own_copy / "mean_image.npy").write_bytes(b"")
    (own_copy / "index.npy").unlink()
    problems = problems_of(own_copy)
    assert [(each.file, each.problem.split(" where")[0]) for each in problems] == [
        ("train-000000.tar", "is missing"),
        ("train-000001.tar", "has 10000 bytes"),
        ("train-000003.tar", "does not have the manifest's sha256"),
        ("index.npy", "is missing"),
        ("mean_image.npy", "has 0 bytes"),
    ]


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
    found = problem_of_shard(own_copy, 3)
    assert found.file == "train-000003.tar"
    assert found.problem.startswith(problem)


def test_no_tar_at_all_is_found_though_its_digest_is_right(own_copy, seal):
    (own_copy / "train-000002.tar").write_bytes(b"no tar" * 1000)
    seal(own_copy)
    found = problem_of_shard(own_copy, 2)
    assert found.problem.startswith("is no tar of ours")


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
