from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import SourceError
from data_shards.sources.choose import open_source
from data_shards.sources.image_tar import root_of_split
from tests.unit.data_shards.sources.archives import jpeg, tar_of, write_tree

PHOTOGRAPHS = Path(__file__).parents[4].parent / "shared" / "data" / "imagenet-125.tar"
PARTS = st.sampled_from(["a", "b", "train", "val", "n01440764", "é", "__MACOSX", ".h"])
FILES = st.sampled_from(["1.jpg", "2.JPEG", "3.png", "4.txt"])
PATHS = st.builds(
    lambda folders, name: "/".join([*folders, name]), st.lists(PARTS, max_size=4), FILES
)
TREES = st.dictionaries(PATHS, st.binary(max_size=9), min_size=1, max_size=9)


def opened(location, split):
    """What a source gives; an error in its place, without where it happened."""
    try:
        source = open_source(location, split)
    except SourceError as error:
        return "splits" if "look like splits" in str(error) else "no images"
    return (
        source.kind,
        source.classes,
        [
            (str(reference), label, source.reader.read(reference))
            for reference, label in source.samples
        ],
        source.sha256,
    )


@given(TREES, st.sampled_from(["train", "validation"]), st.booleans())
def test_an_archive_gives_what_the_folder_would_that_it_was_made_of(
    tmp_path_factory, files, split, is_within_a_folder
):
    root = tmp_path_factory.mktemp("tree")
    if is_within_a_folder:
        files = {f"set/{name}": data for name, data in files.items()}
    write_tree(root / "folder", files)
    (root / "set.tar").write_bytes(tar_of({f"./{name}": files[name] for name in files}))
    assert opened(root / "set.tar", split) == opened(root / "folder", split)


def test_what_is_hidden_or_no_image_is_passed_over(tmp_path):
    files = {"a/1.jpg": b"1", "a/.2.jpg": b"", "a/.b/3.jpg": b"", "a/4.txt": b"", ".c/5.jpg": b""}
    write_tree(tmp_path / "folder", files)
    (tmp_path / "set.tar").write_bytes(tar_of(files))
    for location in ("folder", "set.tar"):
        assert opened(tmp_path / location, "train")[2] == [("a/1.jpg", 0, b"1")]


def test_of_two_files_of_one_path_the_later_counts(tmp_path):
    (tmp_path / "set.tar").write_bytes(tar_of({"a/1.jpg": b"one", "./a/1.jpg": b"two"}))
    assert opened(tmp_path / "set.tar", "train")[2] == [("a/1.jpg", 0, b"two")]


def test_classes_are_in_the_order_of_their_names(tmp_path):
    # Whose paths sort otherwise: - comes before /.
    (tmp_path / "set.tar").write_bytes(tar_of({"a-b/1.jpg": b"", "a/1.jpg": b""}))
    assert [label for _, label, _ in opened(tmp_path / "set.tar", "train")[2]] == [0, 1]


def test_imagenette_is_known_by_its_synsets(tmp_path):
    synsets = [f"n{n:08d}" for n in (1440764, 2102040, 2979186, 3000684, 3028079, 3394916)]
    synsets += [f"n{n:08d}" for n in (3417042, 3425413, 3445777, 3888257)]
    files = {"imagenette2/noisy_imagenette.csv": b"path,noisy_labels_0"}
    for number, synset in enumerate(synsets):
        files[f"imagenette2/train/{synset}/{synset}_{number}.JPEG"] = jpeg(number)
        files[f"imagenette2/val/{synset}/ILSVRC2012_val_{number}.JPEG"] = jpeg(50 + number)
    (tmp_path / "imagenette2.tar").write_bytes(tar_of(files))
    for split, first in (("train", 0), ("validation", 50)):
        source = open_source(tmp_path / "imagenette2.tar", split)
        assert [each.synset for each in source.classes] == synsets
        names = [each.name for each in source.classes]
        assert (names[0], names[1], names[9]) == ("tench", "English springer", "parachute")
        assert [source.reader.read(each) for each, _ in source.samples] == [
            jpeg(first + number) for number in range(10)
        ]


@pytest.mark.parametrize(
    ("paths", "split", "root"),
    [
        (["cat/1.jpg", "dog/1.jpg"], "train", ""),
        (["set/cat/1.jpg", "set/dog/1.jpg"], "train", "set/"),
        (["a/b/cat/1.jpg", "a/b/dog/1.jpg"], "train", "a/b/"),
        (["set/train/cat/1.jpg", "set/val/cat/1.jpg"], "validation", "set/val/"),
        (["train/cat/1.jpg"], "train", "train/"),
        # One class alone.
        (["set/cat/1.jpg"], "train", "set/"),
        (["cat/1.jpg"], "train", ""),
        (["cat/1.jpg", "cat/deep/2.jpg"], "train", ""),
    ],
)
def test_the_class_folders_are_found(paths, split, root):
    assert root_of_split(paths, split, "a.tar") == root


def test_splits_in_an_archive_are_not_taken_for_classes(tmp_path):
    files = {"set/train/cat/1.jpg": b"", "set/test/cat/1.jpg": b""}
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    with pytest.raises(SourceError, match=r"a.tar/set has no folder validation or val, but test"):
        open_source(tmp_path / "a.tar", "validation")


@pytest.mark.parametrize("files", [{"1.jpg": b""}, {"cat/notes.txt": b""}, {}])
def test_an_archive_without_class_folders_is_told(tmp_path, files):
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    with pytest.raises(SourceError, match=r"a.tar holds no folders of images.*the right archive"):
        open_source(tmp_path / "a.tar", "train")


@pytest.mark.skipif(not PHOTOGRAPHS.is_file(), reason=f"{PHOTOGRAPHS} is absent")
def test_photographs_are_read_within_their_archive():
    source = open_source(PHOTOGRAPHS, "train")
    assert len(source.samples) == len(source.classes) == 125
    assert source.classes[0].synset == "n01440764"
    assert str(source.samples[0][0]) == "n01440764/tench.JPEG"
    for reference, _ in source.samples:
        # How a JPEG begins and ends.
        content = source.reader.read(reference)
        assert (content[:2], content[-2:]) == (b"\xff\xd8", b"\xff\xd9")
