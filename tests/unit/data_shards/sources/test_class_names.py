import pytest

from data_shards.errors import SourceError
from data_shards.manifest import ClassEntry
from data_shards.sources.class_names import class_entries, read_classes, read_synset_words
from data_shards.storage.local_folder import LocalFolder


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_words_of_synsets_are_read(tmp_path, name):
    assert read_synset_words(LocalFolder(tmp_path)) == {}
    (tmp_path / name).write_text("n01440764 tench, Tinca tinca\nn02012849 crane\n")
    words = read_synset_words(LocalFolder(tmp_path))
    assert words == {"n01440764": "tench, Tinca tinca", "n02012849": "crane"}
    assert class_entries(["dog", "n01440764", "n03126707"], words) == (
        ClassEntry(name="dog"),
        ClassEntry(name="tench, Tinca tinca", synset="n01440764"),
        ClassEntry(name="n03126707", synset="n03126707"),
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"n01440764 tench\ntench\n", "line 2 is not as `n01440764 tench"),
        (b"n01440764 \n", "line 1 is not as"),
        (b"n01440764\tt\xff", "is no UTF-8"),
    ],
)
def test_other_lines_are_told(tmp_path, content, problem):
    (tmp_path / "synset_words.txt").write_bytes(content)
    with pytest.raises(SourceError, match=f"synset_words.txt.* {problem}"):
        read_synset_words(LocalFolder(tmp_path))


def test_classes_are_named_a_line_each(tmp_path):
    assert read_classes(LocalFolder(tmp_path)) is None
    (tmp_path / "classes.txt").write_text("cat\nice bear \nn01440764 tench, Tinca\nn01443537\n")
    assert read_classes(LocalFolder(tmp_path)) == (
        ClassEntry(name="cat"),
        ClassEntry(name="ice bear"),
        ClassEntry(name="tench, Tinca", synset="n01440764"),
        ClassEntry(name="n01443537", synset="n01443537"),
    )


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_as_editors_end_them_and_nowhere_else(tmp_path, odd, mark, end):
    content = f"{mark}n01440764 ten{odd}ch{end}n02012849 crane{end}"
    for name in ("classes.txt", "LOC_synset_mapping.txt"):
        (tmp_path / name).write_bytes(content.encode())
    words = {"n01440764": f"ten{odd}ch", "n02012849": "crane"}
    assert read_synset_words(LocalFolder(tmp_path)) == words
    classes = read_classes(LocalFolder(tmp_path))
    assert classes is not None
    assert {entry.synset: entry.name for entry in classes} == words


def test_a_class_without_a_name_is_told(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n \ndog\n")
    with pytest.raises(SourceError, match=r"classes.txt: line 2 is empty, where it must name"):
        read_classes(LocalFolder(tmp_path))
