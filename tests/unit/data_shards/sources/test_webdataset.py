import json
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_iterator

from data_shards.errors import ForeignSetError, SourceError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square_of
from data_shards.inspection import index_foreign
from data_shards.inspection.index_foreign import IndexRequest, tars_to_index
from data_shards.manifest import Manifest, load_manifest
from data_shards.packing.pack import pack
from data_shards.shards.tar_index import TarMember
from data_shards.sources.choose import open_source
from data_shards.sources.source import Extent
from data_shards.sources.webdataset import holds_samples, tars_of_split
from data_shards.storage.folder import open_folder
from tests.unit.data_shards.inspection.foreign_tars import picture
from tests.unit.data_shards.packing.rehearsal import InlinePool
from tests.unit.data_shards.sources.archives import tar_of, write_tree

STORE = "memory://sources"


@pytest.fixture
def store():
    """An object store in memory."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def put(folder: Path, store, files: dict[str, bytes]) -> None:
    """Write the same files to a folder and into the object store."""
    write_tree(folder, files)
    for name, content in files.items():
        store.pipe_file(f"sources/{name}", content)


def request_to_index(folder: Path, *, label_field: str | None) -> IndexRequest:
    return IndexRequest(
        folder=open_folder(folder),
        split="train",
        image_size=32,
        label_field=label_field,
        classes=None,
        statistics_limit=None,
        seed=0,
        leave_out_refused=False,
    )


def index(request: IndexRequest) -> Manifest:
    """Index all tars in the request's folder, in this process."""
    tars = tars_to_index(request.folder, "*.tar", force=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_foreign, "WorkerPool", InlinePool)
        report = index_foreign.index_foreign(
            request, tars, num_processes=1, on_progress=lambda *done: None
        )
    return report.manifest


def listed(source) -> list[tuple[str, int, bytes]]:
    return [(str(each), label, source.reader.read(each)) for each, label in source.samples]


LABELLED = {
    # As webdataset groups: by all before the first full stop; in any order within a sample.
    "train-000000.tar": tar_of(
        {
            "__about__.txt": b"",
            "x/1.cls": b"3",
            "x/1.seg.png": b"a mask",
            "x/1.jpg": b"one",
            "README": b"",
            "2.JPEG": b"two",
            "2.cls": b"0",
            "2.json": json.dumps({"label": 7, "caption": "a cat"}).encode(),
            "2.txt": b"a cat",
        }
    ),
    "train-000001.tar": tar_of({"1.png": b"three", "1.jpg": b"four", "1.cls": b" 1\n"}),
    "validation-000000.tar": tar_of({"1.jpg": b"five", "1.cls": b"2"}),
}
TRAIN = [
    ("train-000000.tar/x/1.jpg", 3, b"one"),
    ("train-000000.tar/2.JPEG", 0, b"two"),
    ("train-000001.tar/1.jpg", 1, b"four"),
]


@pytest.mark.parametrize("pattern", ["", "/train-{000000..000001}.tar"])
def test_samples_are_found_on_disk_and_in_a_store(tmp_path, store, pattern):
    put(tmp_path, store, LABELLED)
    local = open_source(f"{tmp_path}{pattern}", "train")
    remote = open_source(f"{STORE}{pattern}", "train")
    assert local.kind == remote.kind == "webdataset"
    assert listed(local) == listed(remote) == TRAIN
    assert local.sha256 == remote.sha256
    assert [each.name for each in local.classes] == ["0", "1", "2", "3"]


def test_one_tar_alone_can_be_named(tmp_path, store):
    put(tmp_path, store, LABELLED)
    for location in (f"{tmp_path}/train-000001.tar", f"{STORE}/train-000001.tar"):
        assert listed(open_source(location, "train")) == TRAIN[2:]


def test_a_folder_of_the_split_may_hold_the_tars(tmp_path, store):
    put(tmp_path, store, {"val/a.tar": LABELLED["validation-000000.tar"]})
    for location in (tmp_path, STORE):
        assert listed(open_source(location, "validation")) == [("a.tar/1.jpg", 2, b"five")]


def test_classes_are_named_by_a_file(tmp_path):
    write_tree(tmp_path, {**LABELLED, "classes.txt": b"cat\ndog\nn01440764 tench\nbee\nwasp\n"})
    classes = open_source(tmp_path, "train").classes
    assert [each.name for each in classes] == ["cat", "dog", "tench", "bee", "wasp"]
    assert classes == open_source(tmp_path / "train-000001.tar", "train").classes
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(SourceError, match=r"the label 3, where 2 classes are named"):
        open_source(tmp_path, "train")


SAMPLES = st.dictionaries(
    st.text("ab/", min_size=1, max_size=3).filter(lambda key: key.strip("/") == key),
    st.sets(st.sampled_from(("seg.png", "txt"))).map(lambda more: ["jpg", "cls", *sorted(more)]),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_samples_are_those_that_webdataset_reads(tmp_path_factory, samples, random):
    folder = tmp_path_factory.mktemp("tars")
    files = {}
    for number, (key, suffixes) in enumerate(samples.items()):
        random.shuffle(suffixes)
        for suffix in suffixes:
            content = str(number) if suffix == "cls" else f"{key}.{suffix}"
            files[f"{key}.{suffix}"] = content.encode()
    (folder / "a.tar").write_bytes(tar_of(files))
    with (folder / "a.tar").open("rb") as tar:
        members = ({**each, "__url__": ""} for each in tar_file_iterator(tar))
        theirs = list(group_by_keys(members))
    assert [
        (name.removesuffix(".jpg"), label, content)
        for name, label, content in listed(open_source(folder, "train"))
    ] == [(f"a.tar/{each['__key__']}", int(each["cls"]), each["jpg"]) for each in theirs]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"1.jpg": b""}, "hold no samples of KEY.jpg and KEY.cls: 1 no_label; labels may lie"),
        ({"1.cls": b"1", "2.rgb": b"", "2.cls": b"1"}, "2 no_image"),
        ({"1.jpg": b"", "1.json": b'{"label": 1}'}, "1 no_label; .* see --label-field"),
        ({"1.jpg": b"", "1.cls": bytes(2 << 20)}, "1 unusable_label"),
        ({"1.jpg": b"", "1.cls": b"1", "2.jpg": b"", "2.cls": b"ant"}, "some labels are numbers"),
        ({"1.jpg": b"", "1.JPG": b""}, "1.jpg twice"),
        ({"../1.jpg": b""}, "a.tar: .* leads out of it"),
        ({"notes": b""}, "the 1 tars in .* hold no samples of .*: they are empty"),
    ],
)
def test_what_cannot_be_listed_is_told(tmp_path, members, problem):
    (tmp_path / "a.tar").write_bytes(tar_of(members))
    with pytest.raises(SourceError, match=problem):
        open_source(tmp_path, "train")


# What anybody may write into a tar, of which most is no sample.
VALUES: st.SearchStrategy[object] = st.sampled_from(
    [0, 2, "1", "01", True, -1, 1.5, None, [], 100_000]
)
MEMBERS = st.lists(
    st.tuples(st.sampled_from(("jpg", "PNG", "bmp", "seg.png", "txt", "cls", "json")), VALUES),
    unique_by=lambda member: member[0],
    max_size=4,
)


@settings(max_examples=40)
@given(
    st.lists(st.lists(MEMBERS, max_size=5), min_size=1, max_size=2),
    st.sampled_from([None, "label", "fine"]),
)
def test_what_is_packed_is_what_would_be_indexed(tmp_path_factory, tars, label_field):
    folder = tmp_path_factory.mktemp("tars")
    for number, samples in enumerate(tars):
        files = {}
        for key, members in enumerate(samples):
            for end, value in members:
                content = json.dumps({"fine": value, "label": 0}) if end == "json" else f"{value}"
                is_image = end in ("jpg", "PNG", "bmp")
                files[f"{key}.{end}"] = picture(key) if is_image else content.encode()
        (folder / f"{number}.tar").write_bytes(tar_of(files))
    request = request_to_index(folder, label_field=label_field)
    try:
        manifest = index(request)
    except ForeignSetError as error:
        told = "hold no samples" if "hold no samples" in str(error) else "some labels are numbers"
        with pytest.raises(SourceError, match=told):
            open_source(folder, "train", label_field=label_field)
        return
    (folder / "manifest.json").unlink()
    source = open_source(folder, "train", label_field=label_field)
    assert source.classes == manifest.classes
    assert source.skipped == manifest.packing.skipped
    assert list(source.skipped_images) == [
        image for image in manifest.packing.skipped_images if image.reason != "no_samples"
    ]
    rows = np.load(folder / "index.npy").tolist()
    extents = [(each, label) for each, label in source.samples if isinstance(each, Extent)]
    assert len(extents) == len(source.samples)
    assert [(each.file, *each[2:], label) for each, label in extents] == [
        (manifest.shards[shard].name, *row) for shard, *row in rows
    ]


def test_labels_may_be_names(tmp_path):
    files = {"1.jpg": b"a", "1.cls": b"wasp\n", "2.jpg": b"b", "2.cls": b"ant"}
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    source = open_source(tmp_path, "train")
    assert [each.name for each in source.classes] == ["ant", "wasp"]
    assert [label for _, label in source.samples] == [1, 0]
    (tmp_path / "classes.txt").write_text("bee\nwasp\nant\n")
    assert [label for _, label in open_source(tmp_path, "train").samples] == [1, 2]


def test_what_was_left_out_as_it_was_listed_is_told_with_the_rest(tmp_path, request_for):
    tar = tar_of({"1.jpg": picture(1), "1.cls": b"0", "2.jpg": picture(2)})
    write_tree(tmp_path, {"tars/a.tar": tar})
    request = request_for(source=open_source(tmp_path / "tars", "train"))
    packing = pack(request, tmp_path / "out", num_processes=1).manifest.packing
    assert packing.skipped == {"no_label": 1}
    assert [(each.path, each.reason) for each in packing.skipped_images] == [
        ("a.tar:2", "no_label")
    ]
    assert pack(request, tmp_path / "out", num_processes=1).already_packed


def test_a_set_that_was_indexed_is_packed_as_it_was_indexed(tmp_path):
    images = [picture(number) for number in range(12)]
    files = {}
    for number, image in enumerate(images):
        document = {"label": number % 2, "fine": number % 6}
        files[f"{number}.jpg"] = image
        files[f"{number}.json"] = json.dumps(document).encode()
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    index(request_to_index(tmp_path, label_field="fine"))
    source = open_source(tmp_path, "train")
    assert [each.name for each in source.classes] == ["0", "1", "2", "3", "4", "5"]
    assert [label for _, label in source.samples] == [number % 6 for number in range(12)]
    assert [source.reader.read(each) for each, _ in source.samples] == images
    with pytest.raises(SourceError, match=r"manifest\.json and its index tell the labels"):
        open_source(tmp_path, "train", label_field="label")
    with (tmp_path / "a.tar").open("ab") as tar:
        tar.write(b"more")
    with pytest.raises(SourceError, match=r"a\.tar has \d+ bytes where the manifest says"):
        open_source(tmp_path, "train")


def test_a_field_of_what_is_no_webdataset_is_refused(image_folder):
    with pytest.raises(SourceError, match=r"is no WebDataset, .* leave out --label-field"):
        open_source(image_folder, "train", label_field="label")


def test_the_first_error_ends_the_listing(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.tar").write_bytes(LABELLED["train-000001.tar"])
    (tmp_path / "01.tar").write_bytes(b"x" * 600)
    heard = []
    # Other tests of the same process may have left some.
    before = set(threading.enumerate())
    with pytest.raises(SourceError, match=r"01.tar: is no tar; fetch it again"):
        open_source(tmp_path, "train", on_progress=lambda *done: heard.append(done))
    size = len(LABELLED["train-000001.tar"])
    assert heard == [(size, 39 * size + 600)]
    left = set(threading.enumerate()) - before
    assert not any("ThreadPool" in thread.name for thread in left)


def test_a_tar_that_is_gone_is_told(tmp_path):
    write_tree(tmp_path, LABELLED)
    with pytest.raises(SourceError, match=r"train-000002.tar does not exist; check its name"):
        open_source(f"{tmp_path}/train-{{000000..000002}}.tar", "train")
    source = open_source(tmp_path, "train")
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(SourceError, match=r"train-000001.tar is gone; put it back"):
        source.reader.read(source.samples[2][0])


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_a_set_that_was_packed_can_be_packed_again(request_for, tmp_path, encoding):
    out = tmp_path / "packed"
    request = request_for(encoding=encoding)
    pack(request, str(out), num_processes=1, force=False)
    manifest = load_manifest(out)
    for location in (out, out / "manifest.json"):
        source = open_source(location, "train")
        assert source.classes == manifest.classes
        assert len(source.samples) == manifest.num_samples
    index = np.load(out / manifest.index.name)
    for (reference, label), (shard, offset, size, its_label) in zip(
        source.samples, index.tolist(), strict=True
    ):
        assert label == its_label
        content = (out / manifest.shards[shard].name).read_bytes()[offset : offset + size]
        image = source.reader.read(reference)
        assert isinstance(image, bytes) == (encoding != "raw")
        assert (image if isinstance(image, bytes) else image.tobytes()) == content
        assert square_of(image, 32).shape == (32, 32, 3)


def test_a_packed_set_may_lie_in_a_store(packed, store):
    for path in packed.iterdir():
        if path.is_file():
            store.pipe_file(f"sources/train/{path.name}", path.read_bytes())
    for location in (f"{STORE}/train", f"{STORE}/train/manifest.json"):
        source = open_source(location, "train")
        assert [each.name for each in source.classes][:2] == ["ant", "bee"]
        assert square_of(source.reader.read(source.samples[0][0]), 32).shape == (32, 32, 3)


def test_pixels_of_another_size_are_left_out(request_for, tmp_path):
    pack(request_for(encoding="raw"), str(tmp_path), num_processes=1, force=False)
    source = open_source(tmp_path, "train")
    reference, _ = source.samples[0]
    assert isinstance(reference, Extent)
    with pytest.raises(SkippedImageError) as caught:
        source.reader.read(reference._replace(size_bytes=100))
    assert caught.value.reason is SkipReason.UNREADABLE


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (["b.tar", "a.tar", "notes.txt"], "train", ["a.tar", "b.tar"]),
        (["imagenet1k-train-00.tar", "imagenet1k-validation-00.tar"], "validation", [1]),
        (["x_val_0.tar", "x_train_0.tar"], "validation", [0]),
        (["train0.tar", "more.tar"], "train", [0]),
        (["restrained-0.tar"], "validation", [0]),
    ],
)
def test_the_tars_of_a_split_are_told_by_their_names(names, split, chosen):
    expected = [names[each] if isinstance(each, int) else each for each in chosen]
    assert tars_of_split(names, split, "s3://b") == expected


def test_tars_of_other_splits_are_not_taken():
    with pytest.raises(SourceError, match="s3://b holds tars of test, train, but none of validat"):
        tars_of_split(["train-0.tar", "test-0.tar"], "validation", "s3://b")


@pytest.mark.parametrize(
    ("names", "are_samples"),
    [
        (["1.jpg", "1.cls"], True),
        (["a/1.rgb", "a/1.json"], True),
        (["a/1.jpg", "a/2.jpg", "labels.json"], False),
        (["a/1.jpg", "a/1.JPG"], False),
        ([], False),
    ],
)
def test_samples_are_told_from_folders_of_images(names, are_samples):
    assert holds_samples([TarMember(name, 512, 0) for name in names]) is are_samples
