import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import ForeignSetError
from data_shards.manifest import ClassEntry
from data_shards.shards.labels import label_of, number_classes


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b"7", 7),
        (b" 007\n", 7),
        (b"99999", 99_999),
        (b"tench", "tench"),
        ("n01440764 Schleie, größte".encode(), "n01440764 Schleie, größte"),
        (b"", None),
        (b"100000", None),
        (b"-1", None),
        (b"3.5", None),
        (b"nan", None),
        (b"9" * 5000, None),
        (b"x" * 401, None),
    ],
)
def test_a_cls_is_a_number_or_a_name(content, label):
    assert label_of(content, None) == label
    # So is a field, whatever else the document holds.
    document = {"a": [1], "b": content.decode().strip()}
    assert label_of(json.dumps(document).encode(), "b") == label


@pytest.mark.parametrize("value", [None, True, False, -1, 2.0, 100_000, [], {}, [3], float("nan")])
def test_other_values_of_a_field_are_no_labels(value):
    assert label_of(json.dumps({"label": value}).encode(), "label") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"3", b'"label"', b'{"other": 3}', b'{"label": 3', b"[" * 100_000, b"\xff"],
)
def test_what_holds_no_such_field_holds_no_label(content):
    assert label_of(content, "label") is None


def test_a_cls_is_utf_8():
    assert label_of(b"\xff", None) is None


@given(st.binary(max_size=60), st.sampled_from([None, "label"]))
def test_no_bytes_are_an_error(content, field):
    label = label_of(content, field)
    assert label is None or isinstance(label, int | str)


def names_of(classes: tuple[ClassEntry, ...]) -> list[str]:
    return [entry.name for entry in classes]


def test_numbers_without_names_name_themselves_with_gaps():
    classes, number_of = number_classes({3, 1}, None)
    assert names_of(classes) == ["0", "1", "2", "3"]
    assert number_of == {1: 1, 3: 3}


def test_names_are_numbered_in_their_order():
    classes, number_of = number_classes({"wasp", "ant", "Bee"}, None)
    assert names_of(classes) == ["Bee", "ant", "wasp"]
    assert number_of == {"Bee": 0, "ant": 1, "wasp": 2}


CLASSES = (
    ClassEntry(name="tench", synset="n01440764"),
    ClassEntry(name="crane"),
    ClassEntry(name="hen"),
    ClassEntry(name="crane"),
)


def test_named_classes_take_numbers_names_and_synsets():
    classes, number_of = number_classes({0, 2, "hen", "n01440764"}, CLASSES)
    assert classes == CLASSES
    assert number_of == {0: 0, 2: 2, "hen": 2, "n01440764": 0}


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ({3, "ant"}, None, "some labels are numbers, such as 3, and some are names, such as 'ant'"),
        ({4}, CLASSES, "there is the label 4, where 4 classes are named"),
        ({"cock"}, CLASSES, "there is the label 'cock', which is the name of no class"),
        ({"crane"}, CLASSES, "the label 'crane' is the name of two classes, 1 and 3"),
    ],
)
def test_labels_that_do_not_go_with_the_classes_are_told(labels, classes, message):
    with pytest.raises(ForeignSetError, match=message):
        number_classes(labels, classes)
