import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from data_shards.errors import SourceError
from data_shards.images.square import square_of
from data_shards.sources.choose import open_source
from tests.unit.data_shards.sources.archives import jpeg, tar_of, write_tree

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
KIT = "ILSVRC2012_devkit_t12"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
# The kit numbers its synsets otherwise than they sort; the last is what the others are kinds of.
SYNSETS = (
    (1, "n02119789", "kit fox, Vulpes macrotis", 0),
    (2, "n01440764", "tench, Tinca tinca", 0),
    (3, "n03126707", "crane", 0),
    (4, "n00001740", "entity", 3),
)
SORTED = ["n01440764", "n02119789", "n03126707"]
# What ImageNet is known for: a PNG named JPEG, CMYK, grey.
IMAGES = {
    "n02119789": [jpeg(0), jpeg(1, mode="CMYK")],
    "n01440764": [jpeg(2, "PNG")],
    "n03126707": [jpeg(3), jpeg(4, mode="L"), jpeg(5)],
}
# Numbers of the kit, not labels.
GROUND_TRUTH = (3, 3, 1, 2)


def meta(synsets=SYNSETS) -> bytes:
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    array = np.zeros((len(synsets), 1), dtype=[(field, object) for field in fields])
    for place, (number, synset, words, count) in enumerate(synsets):
        array[place, 0] = (number, synset, words, "a gloss", count, np.arange(count))
    content = io.BytesIO()
    savemat(content, {"synsets": array}, do_compression=True)
    return content.getvalue()


def devkit(**changes: bytes | None) -> dict[str, bytes]:
    files = {
        f"{KIT}/readme.txt": b"Introduction",
        f"{KIT}/{META}": changes.get("meta", meta()),
        f"{KIT}/{TRUTH}": changes.get("truth", "".join(f"{n}\n" for n in GROUND_TRUTH).encode()),
    }
    return {name: content for name, content in files.items() if content is not None}


def class_tars(images=IMAGES) -> dict[str, bytes]:
    # Neither classes nor images in the order of their names.
    return {
        f"{synset}.tar": tar_of(
            {f"{synset}_{10 - number}.JPEG": data for number, data in enumerate(contents)}
        )
        for synset, contents in images.items()
    }


def validation_images(numbers=(2, 1, 4, 3)) -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{number:08d}.JPEG": jpeg(20 + number) for number in numbers}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A miniature of the distribution."""
    files = {
        TRAIN: tar_of(class_tars()),
        VALIDATION: tar_of(validation_images()),
        f"{KIT}.tar.gz": gzip.compress(tar_of(devkit())),
    }
    return write_tree(tmp_path / "ilsvrc", files)


def test_images_are_read_within_the_tars_within_the_tar(folder):
    source = open_source(folder, "train")
    assert source.kind == "ilsvrc2012"
    # Labels are those of all public networks: synsets sorted.
    assert [(each.synset, each.name) for each in source.classes] == [
        ("n01440764", "tench, Tinca tinca"),
        ("n02119789", "kit fox, Vulpes macrotis"),
        ("n03126707", "crane"),
    ]
    assert [(str(reference), label) for reference, label in source.samples] == [
        ("n01440764/n01440764_10.JPEG", 0),
        ("n02119789/n02119789_10.JPEG", 1),
        ("n02119789/n02119789_9.JPEG", 1),
        ("n03126707/n03126707_10.JPEG", 2),
        ("n03126707/n03126707_8.JPEG", 2),
        ("n03126707/n03126707_9.JPEG", 2),
    ]
    for reference, label in source.samples:
        content = source.reader.read(reference)
        assert content in IMAGES[SORTED[label]]
        assert square_of(content, 8).shape == (8, 8, 3)


def test_validation_images_have_the_labels_of_the_ground_truth(folder):
    source = open_source(folder, "validation")
    assert source.classes == open_source(folder, "train").classes
    assert [(str(reference), label) for reference, label in source.samples] == [
        ("ILSVRC2012_val_00000001.JPEG", 2),
        ("ILSVRC2012_val_00000002.JPEG", 2),
        ("ILSVRC2012_val_00000003.JPEG", 1),
        ("ILSVRC2012_val_00000004.JPEG", 0),
    ]
    assert [source.reader.read(each) for each, _ in source.samples] == [
        jpeg(20 + number) for number in (1, 2, 3, 4)
    ]


def test_the_order_in_the_archives_is_of_no_account(folder, tmp_path):
    other = write_tree(
        tmp_path / "other",
        {
            TRAIN: tar_of(dict(reversed(class_tars().items()))),
            VALIDATION: tar_of({f"./val/{n}": d for n, d in sorted(validation_images().items())}),
            **devkit(),
        },
    )
    for split, archive in (("train", TRAIN), ("validation", VALIDATION)):
        ours, theirs = open_source(folder, split), open_source(other / archive, split)
        assert [(str(each), label) for each, label in ours.samples] == [
            (str(each), label) for each, label in theirs.samples
        ]
        assert ours.sha256 == theirs.sha256
        assert ours.classes == theirs.classes


def test_other_labels_are_another_source(folder):
    before = open_source(folder, "validation").sha256
    write_tree(folder, {f"{KIT}.tar.gz": gzip.compress(tar_of(devkit(truth=b"1\n3\n1\n2\n")))})
    assert open_source(folder, "validation").sha256 != before


def test_a_list_of_synsets_serves_the_training_images(folder):
    (folder / f"{KIT}.tar.gz").unlink()
    words = "".join(f"{synset} {words}\n" for _, synset, words, count in SYNSETS if not count)
    (folder / "LOC_synset_mapping.txt").write_text(words)
    source = open_source(folder, "train")
    assert source.classes[0].name == "tench, Tinca tinca"
    with pytest.raises(SourceError, match=r"ilsvrc lacks ILSVRC2012_devkit_t12.tar.gz, without wh"):
        open_source(folder, "validation")


def test_without_the_kit_it_is_told_what_to_put_where(folder):
    (folder / f"{KIT}.tar.gz").unlink()
    with pytest.raises(SourceError, match=r"ilsvrc lacks ILSVRC2012_devkit_t12.tar.gz, which nam"):
        open_source(folder, "train")


def test_an_archive_that_is_not_there_is_told(folder):
    (folder / VALIDATION).unlink()
    assert len(open_source(folder, "train").samples) == 6
    with pytest.raises(SourceError, match=f"ilsvrc lacks {VALIDATION}; put it there to pack valid"):
        open_source(folder, "validation")
    with pytest.raises(SourceError, match="train and validation images, not of 'test'"):
        open_source(folder, "test")


@pytest.mark.parametrize(
    ("name", "content", "split", "problem"),
    [
        (TRAIN, tar_of(class_tars())[:-12_000], "train", "is cut short: it ends at byte"),
        (TRAIN, tar_of(class_tars() | {"a.txt": b""}), "train", "holds a.txt, where it must hold"),
        (TRAIN, tar_of(class_tars(IMAGES | {"n00000009": []})), "train", "holds n00000009.tar, wh"),
        (
            TRAIN,
            tar_of({"n01440764.tar": tar_of({}), "n02119789.tar": tar_of({})}),
            "train",
            "lacks n03126707.tar: it has 2 of 3 classes",
        ),
        (
            TRAIN,
            tar_of(class_tars() | {"./n01440764.tar": tar_of({})}),
            "train",
            "holds a class twice: it has 4 of 3 classes",
        ),
        (
            TRAIN,
            tar_of(class_tars() | {"n01440764.tar": b"x" * 600}),
            "train",
            "n01440764.tar: is no tar",
        ),
        (VALIDATION, tar_of(validation_images((1, 2, 4))), "validation", "holds 3 images, where"),
        (
            VALIDATION,
            tar_of(validation_images((0, 1, 2, 3))),
            "validation",
            "val_00000000.JPEG, wh",
        ),
        (
            VALIDATION,
            tar_of(validation_images((1, 2, 3, 5))),
            "validation",
            "val_00000005.JPEG, wh",
        ),
        (VALIDATION, tar_of({"a.txt": b""}), "validation", "holds a.txt, where it must hold ILSVR"),
        (f"{KIT}.tar.gz", b"nothing", "train", "is broken: Not a gzipped file"),
        (f"{KIT}.tar.gz", gzip.compress(b"x" * 600), "train", "is broken: is no tar"),
        (
            f"{KIT}.tar.gz",
            gzip.compress(tar_of(devkit(truth=None))),
            "train",
            "lacks data/ILSVRC2012_validation_ground_truth.txt; fetch it again",
        ),
        (
            f"{KIT}.tar.gz",
            gzip.compress(tar_of(devkit(meta=b"not matlab's"))),
            "train",
            "is broken: it cannot be read as a MATLAB file",
        ),
        (
            f"{KIT}.tar.gz",
            gzip.compress(tar_of(devkit(truth=b"3\n4\n"))),
            "validation",
            "is broken: line 2 of data/.*truth.txt is 4, no synset's number",
        ),
        (
            f"{KIT}.tar.gz",
            gzip.compress(tar_of(devkit(truth=b"3\nthree\n"))),
            "validation",
            "is broken: invalid literal",
        ),
        (
            f"{KIT}.tar.gz",
            gzip.compress(tar_of(devkit(meta=meta([(1, "../x", "", 0)])))),
            "validation",
            "is broken: data/meta.mat has the synset '../x'",
        ),
    ],
    ids=[
        "training images cut short",
        "no tar of a class",
        "an unknown class",
        "a class less",
        "a class twice",
        "a class that is no tar",
        "an image less",
        "an image before the first",
        "an image after the last",
        "no image of the validation",
        "a kit that is no gzip",
        "a kit that is no tar",
        "a kit without the truth",
        "a kit whose meta.mat is not MATLAB's",
        "a number of no synset",
        "a word for a number",
        "a synset that leads out",
    ],
)
def test_what_is_wrong_with_an_archive_is_told(folder, name, content, split, problem):
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"{name}:? .*{problem}"):
        open_source(folder, split)


def test_progress_is_told(folder):
    heard = []
    open_source(folder, "train", on_progress=lambda done, total: heard.append((done, total)))
    size = (folder / TRAIN).stat().st_size
    assert len(heard) == 3
    assert all(0 < done <= total == size for done, total in heard)
