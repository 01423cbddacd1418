from pathlib import Path

import pytest

from data_shards.arrays import Pixels
from data_shards.errors import SourceError
from data_shards.sources.choose import open_source
from tests.unit.data_shards.sources.archives import jpeg, write_tree

DATA = "ILSVRC/Data/CLS-LOC"
VAL = f"{DATA}/val/ILSVRC2012_val_0000000"
FILES = {
    "LOC_synset_mapping.txt": b"n01440764 tench, Tinca tinca\nn02119789 kit fox\n",
    "LOC_val_solution.csv": (
        b"ImageId,PredictionString\n"
        b"ILSVRC2012_val_00000002,n01440764 1 2 3 4 n01440764 5 6 7 8 \n"
        b"ILSVRC2012_val_00000001,n02119789 1 2 3 4 \n"
    ),
    f"{DATA}/train/n02119789/n02119789_1.JPEG": jpeg(1),
    f"{DATA}/train/n01440764/n01440764_1.JPEG": jpeg(2),
    f"{VAL}1.JPEG": jpeg(3),
    f"{VAL}2.JPEG": jpeg(4),
    f"{DATA}/test/ILSVRC2012_test_00000001.JPEG": jpeg(5),
}


def listed(folder: Path, split: str) -> list[tuple[str, int, bytes | Pixels]]:
    source = open_source(folder, split)
    assert [each.name for each in source.classes] == ["tench, Tinca tinca", "kit fox"]
    return [(str(each), label, source.reader.read(each)) for each, label in source.samples]


def test_folders_and_a_table_give_the_labels(tmp_path):
    write_tree(tmp_path, FILES)
    assert listed(tmp_path, "train") == [
        ("n01440764/n01440764_1.JPEG", 0, jpeg(2)),
        ("n02119789/n02119789_1.JPEG", 1, jpeg(1)),
    ]
    assert listed(tmp_path, "validation") == [
        ("ILSVRC2012_val_00000001.JPEG", 1, jpeg(3)),
        ("ILSVRC2012_val_00000002.JPEG", 0, jpeg(4)),
    ]


@pytest.mark.parametrize(
    ("name", "content", "split", "problem"),
    [
        ("LOC_synset_mapping.txt", None, "train", "lacks LOC_synset_mapping.txt, which"),
        ("LOC_synset_mapping.txt", b"n01440764 tench\n", "train", "n02119789 is in one of them"),
        ("LOC_val_solution.csv", None, "validation", "csv does not exist, without which nobody"),
        ("LOC_val_solution.csv", b"a,b\n1,n00000009 1\n", "validation", "line 2 names no synset"),
        ("LOC_val_solution.csv", b"a,b\n1\n", "validation", "line 2 names no synset"),
        ("LOC_val_solution.csv", b"", "validation", "csv has no lines"),
        (f"{VAL}1.JPEG", None, "validation", "lacks ILSVRC2012_val_00000001.JPEG; unpack"),
        ("notes", b"", "test", "train and validation images, not of 'test'"),
    ],
)
def test_says_what_is_missing(tmp_path, name, content, split, problem):
    files = FILES | {name: content}
    write_tree(tmp_path, {name: data for name, data in files.items() if data is not None})
    with pytest.raises(SourceError, match=problem):
        open_source(tmp_path, split)
