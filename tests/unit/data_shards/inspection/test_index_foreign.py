import json
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.errors import ForeignSetError
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.images.square import square_of
from data_shards.inspection.index_foreign import (
    IndexReport,
    IndexRequest,
    index_foreign,
    shares_of,
    tars_to_index,
)
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.verify import Findings, verify
from data_shards.manifest import ClassEntry, load_manifest
from data_shards.packing.statistics import PixelSums
from data_shards.storage.folder import open_folder
from tests.unit.data_shards.inspection.foreign_tars import picture, sample, write_tar


def index(
    location: object, tars: str = "*.tar", *, force: bool = False, processes: int = 1, **changes
) -> IndexReport:
    folder = open_folder(str(location))
    found = tars_to_index(folder, tars, force=force)
    options = {
        "folder": folder,
        "split": "train",
        "image_size": 32,
        "label_field": "label",
        "classes": None,
        "statistics_limit": None,
        "seed": 0,
        "leave_out_refused": False,
    }
    request = IndexRequest(**{**options, **changes})
    done: list[tuple[int, int]] = []
    report = index_foreign(
        request, found, num_processes=processes, on_progress=lambda *more: done.append(more)
    )
    # Each byte is counted twice, as it is read and as it is looked through.
    assert sum(size for size, _ in done) == 2 * sum(found.values())
    return report


def findings_of(location: object) -> Findings:
    return verify(
        open_set(str(location)),
        num_processes=1,
        decode=True,
        on_bytes=lambda count: None,
        on_samples=lambda count: None,
    )


def stored(folder, manifest) -> list[tuple[bytes, int]]:
    """(bytes, label) of each sample, by the index."""
    contents = [(folder / entry.name).read_bytes() for entry in manifest.shards]
    rows = np.load(folder / "index.npy").tolist()
    return [(contents[shard][at : at + size], label) for shard, at, size, label in rows]


def test_samples_of_any_layout_are_found(tmp_path, real_processes):
    images = [
        picture(0),
        picture(1, kind="PNG"),
        picture(2, kind="WEBP", lossless=True),
        picture(3, (32, 32)),
        picture(4, (20, 90)),
    ]
    write_tar(tmp_path / "b-1.tar", [*sample(3, 1, images[3]), *sample(4, 0, images[4], "JPEG")])
    write_tar(
        tmp_path / "b-0.tar",
        [
            ("about.txt", b"no sample"),
            ("./a.b/x.json", b'{"label": 2}'),
            ("./a.b/x.jpg", images[0]),
            ("./a.b/x.txt", b"more of it"),
            ("__meta__/0.jpg", b""),
            *sample(1, 0, images[1], "PNG"),
            *sample(2, 2, images[2], "webp"),
        ],
    )
    report = index(tmp_path, processes=2)
    manifest = load_manifest(tmp_path)
    assert report.manifest == manifest
    assert [entry.name for entry in manifest.shards] == ["b-0.tar", "b-1.tar"]
    assert [entry.name for entry in manifest.classes] == ["0", "1", "2"]
    assert not manifest.squared
    assert stored(tmp_path, manifest) == list(zip(images, [2, 0, 2, 1, 0], strict=True))
    assert manifest.packing.skipped == {"no_image": 1}
    assert manifest.packing.skipped_images[0].path == "b-0.tar:about"
    sums = PixelSums.zero(32)
    for image in images:
        sums.add_image(square_of(image, 32))
    assert np.array_equal(np.load(tmp_path / "mean_image.npy"), sums.mean_image())
    assert manifest.rgb_pca == sums.rgb_pca()
    assert report.num_counted == 5
    assert findings_of(tmp_path) == Findings((), ())


def test_labels_of_cls_files_may_be_names(tmp_path):
    write_tar(
        tmp_path / "0.tar",
        [("0.cls", b"wasp"), ("0.jpg", picture(0)), ("1.jpg", picture(1)), ("1.cls", b"ant")],
    )
    manifest = index(tmp_path, label_field=None).manifest
    assert [entry.name for entry in manifest.classes] == ["ant", "wasp"]
    assert [label for _, label in stored(tmp_path, manifest)] == [1, 0]
    named = (ClassEntry(name="bee"), ClassEntry(name="wasp"), ClassEntry(name="ant"))
    manifest = index(tmp_path, label_field=None, classes=named, force=True).manifest
    assert manifest.classes == named
    assert [label for _, label in stored(tmp_path, manifest)] == [1, 2]


@pytest.mark.parametrize(
    ("odd", "squared"),
    [
        (picture(9, (32, 32)), True),
        (picture(9, (32, 32), mode="L"), True),
        (picture(9, (32, 31)), False),
        (picture(9, (64, 64)), False),
        (picture(9, (32, 32), "PNG"), False),
        (picture(9, (32, 32), mode="CMYK"), False),
    ],
)
def test_a_set_is_squared_if_every_image_is_a_plain_jpeg_of_that_size(tmp_path, odd, squared):
    images = [*[picture(number, (32, 32)) for number in range(4)], odd]
    for number, image in enumerate(images):
        write_tar(tmp_path / f"{number}.tar", sample(number, 0, image))
    assert index(tmp_path).manifest.squared is squared
    assert findings_of(tmp_path) == Findings((), ())


def test_an_image_that_lies_on_its_side_is_not_squared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_tar(tmp_path / "0.tar", sample(0, 0, picture(0, (32, 32), exif=exif)))
    assert not index(tmp_path).manifest.squared


def test_what_cannot_be_used_is_skipped_and_named(tmp_path):
    broken = picture(1)[:400]
    write_tar(
        tmp_path / "0.tar",
        [
            *sample(0, 0),
            *sample(1, 0, broken),
            *sample(2, -1),
            *sample(3, 0, b"no image"),
            ("4.jpg", picture(4)),
            ("5.json", b'{"label": 0}'),
        ],
    )
    manifest = index(tmp_path).manifest
    assert manifest.num_samples == 1
    assert manifest.packing.skipped == {
        "broken": 1,
        "no_image": 1,
        "no_label": 1,
        "not_an_image": 1,
        "unusable_label": 1,
    }
    named = {image.path: image.reason for image in manifest.packing.skipped_images}
    assert named == {
        "0.tar:0001": "broken",
        "0.tar:0002": "unusable_label",
        "0.tar:0003": "not_an_image",
        "0.tar:4": "no_label",
        "0.tar:5": "no_image",
    }
    assert findings_of(tmp_path) == Findings((), ())


def link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("0.jpg")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("0.json", b'{"label": 0}'), (link(), b"")], "is no regular file"),
        ([("../0.jpg", b"")], "leads out of it"),
        ([("0.jpg", b""), ("0.JPG", b"")], "has 0.jpg twice in one sample"),
    ],
)
def test_a_tar_that_cannot_be_trusted_is_refused_by_name(tmp_path, members, why):
    write_tar(tmp_path / "a.tar", sample(0, 0))
    write_tar(tmp_path / "b.tar", members)
    with pytest.raises(ForeignSetError, match=f"a tar is refused: {tmp_path}/b.tar .*{why}"):
        index(tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    report = index(tmp_path, leave_out_refused=True)
    assert list(report.refused) == ["b.tar"]
    assert [entry.name for entry in report.manifest.shards] == ["a.tar"]


def test_tars_that_were_left_out_may_lie_beside_the_rest(tmp_path):
    write_tar(tmp_path / "0.tar", sample(0, 0))
    # More than a manifest names.
    for number in range(1, 25):
        (tmp_path / f"{number}.tar").write_bytes(b"no tar" * 100)
    report = index(tmp_path, leave_out_refused=True)
    assert len(report.refused) == 24
    assert len(report.manifest.packing.skipped_images) == 20
    assert findings_of(tmp_path) == Findings((), ())


def test_the_statistics_of_some_images_are_those_of_their_squares(tmp_path):
    for tar in range(3):
        numbers = range(20 * tar, 20 * tar + 20)
        write_tar(tmp_path / f"{tar}.tar", [each for n in numbers for each in sample(n, 0)])
    means = []
    for seed in (0, 0, 1):
        report = index(tmp_path, statistics_limit=17, seed=seed, force=True)
        assert report.num_counted == 17
        assert report.manifest.num_samples == 60
        means.append(np.load(tmp_path / "mean_image.npy"))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])


@given(
    limit=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 1 << 40), min_size=1, max_size=40),
)
def test_shares_are_in_proportion_and_add_up(limit, sizes):
    shares = shares_of(limit, sizes)
    assert sum(shares) == limit
    for share, size in zip(shares, sizes, strict=True):
        assert abs(share - limit * size / sum(sizes)) < 1 + 1e-6


@pytest.mark.parametrize("squared", [True, False])
def test_an_epoch_is_read_from_tars_as_they_are(tmp_path, squared):
    labels = {}
    for tar in range(4):
        numbers = range(8 * tar, 8 * tar + 7)
        members = []
        for number in numbers:
            image = picture(number, (32, 32) if squared else (30 + number, 50))
            members += sample(number, number % 5, image)
            square = square_of(image, 32)
            labels[square[4:28, 4:28].tobytes()] = number % 5
        write_tar(tmp_path / f"made-{tar}.tar", members)
    assert index(tmp_path).manifest.squared is squared
    plan = ReaderPlan(
        location=str(tmp_path),
        seed=3,
        global_batch_size=8,
        crop_size=24,
        num_streams=4,
        window=2,
        random_crop=False,
        mirror=False,
    )
    seen = {}
    with Reader(plan, num_processes=1) as reader:
        for batch in reader.batches(0, reader.steps_per_epoch):
            assert batch.corrupt == ()
            for place in np.flatnonzero(batch.real):
                seen[batch.images[place].tobytes()] = int(batch.labels[place])
    assert seen == labels


def test_a_set_in_an_object_store_is_indexed_there(tmp_path, bucket, real_processes):
    write_tar(tmp_path / "0.tar", [*sample(0, 1), *sample(1, 0)])
    folder = open_folder(f"{bucket}/set")
    folder.put(tmp_path / "0.tar", "0.tar")
    report = index(f"{bucket}/set")
    assert open_set(f"{bucket}/set").manifest == report.manifest
    assert findings_of(f"{bucket}/set") == Findings((), ())
    # The same as of a copy.
    assert index(tmp_path).manifest == report.manifest


def test_what_cannot_be_indexed_is_told(tmp_path):
    with pytest.raises(ForeignSetError, match="does not exist, or holds no files"):
        index(tmp_path / "nowhere")
    (tmp_path / "0.tar.gz").write_bytes(b"")
    with pytest.raises(ForeignSetError, match=r"compressed tars such as 0\.tar\.gz"):
        index(tmp_path)
    (tmp_path / "0.tar.gz").rename(tmp_path / "notes.txt")
    with pytest.raises(ForeignSetError, match=r"holds no \*\.tar; name the folder"):
        index(tmp_path)
    write_tar(tmp_path / "0.tar", sample(0, 0))
    with pytest.raises(ForeignSetError, match="is no name for a split"):
        index(tmp_path, split="Train!")
    with pytest.raises(ForeignSetError, match=r"hold no samples of .* 'class' in .*: 1 unusable"):
        index(tmp_path, label_field="class")
    with pytest.raises(ForeignSetError, match=r"and KEY\.cls: 1 no_label; labels may lie"):
        index(tmp_path, label_field=None)
    (tmp_path / "a b.tar").write_bytes(b"")
    with pytest.raises(ForeignSetError, match=r"a b\.tar has a name that no manifest can tell"):
        index(tmp_path)
    index(tmp_path, "0*.tar")
    with pytest.raises(ForeignSetError, match=r"holds manifest\.json, index\.npy, mean_image\.npy"):
        index(tmp_path, "0*.tar")


def test_a_manifest_is_replaced_only_when_told_and_says_what_is_there_now(tmp_path):
    write_tar(tmp_path / "0.tar", sample(0, 0))
    first = index(tmp_path).manifest
    write_tar(tmp_path / "0.tar", [*sample(0, 0), *sample(1, 1)])
    assert [each.file for each in findings_of(tmp_path).problems] == ["0.tar"]
    second = index(tmp_path, force=True).manifest
    assert findings_of(tmp_path) == Findings((), ())
    assert first.content_sha256() != second.content_sha256()
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["packing"]["source"] == "indexed-webdataset"
