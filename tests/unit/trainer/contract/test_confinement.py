from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.confinement import (
    ConfinementError,
    confined,
    confined_location,
    plain_url,
)
from trainer.contract.spec import MAX_LOCATION_CHARACTERS

FILE = "manifest.json"
PARTS = st.sampled_from(["..", ".", "/", "inside", "out", "a/b", "manifest.json", "", "\0", "~"])


@given(location=st.lists(PARTS, min_size=1, max_size=6).map("/".join) | st.text(max_size=20))
def test_no_location_leads_out_of_the_roots(
    tmp_path_factory: pytest.TempPathFactory, location: str
) -> None:
    base = tmp_path_factory.getbasetemp() / "confined"
    root = base / "root"
    (root / "inside").mkdir(parents=True, exist_ok=True)
    if not (root / "out").is_symlink():
        (root / "out").symlink_to(base)
    try:
        found = confined(location, [root], FILE, mend="")
    except ConfinementError:
        return
    assert found == found.resolve()
    assert found.is_relative_to(root)


def test_a_relative_path_is_that_of_the_first_root_that_has_it(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("first", "second")]
    second = _write(roots[1] / "train")
    assert confined("train", roots, FILE, mend="") == second
    first = _write(roots[0] / "train")
    assert confined("train", roots, FILE, mend="") == first


def _write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / FILE).write_text("")
    return folder / FILE


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("s3://bucket/train", "is a URL; only a path"),
        ("/etc", "; mend it"),
        ("a\0b", "is not a usable path"),
        ("loop", "is not a usable path"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(tmp_path: Path, location: str, problem: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfinementError, match=problem):
        confined(location, [tmp_path], FILE, mend="mend it")


def test_a_true_path_is_as_short_as_a_spec_takes(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    # Nothing need be there: the path alone counts. Of names of 1 letter, and one of 1 or 2.
    num_letters = MAX_LOCATION_CHARACTERS - len(f"{root}/")
    location = "/".join(["d"] * (num_letters // 2)) + "d" * (1 + num_letters % 2)
    longest = confined(location, [root], FILE, mend="")
    assert len(str(longest)) == MAX_LOCATION_CHARACTERS
    with pytest.raises(ConfinementError, match="is longer than 1,024 characters"):
        confined(f"{location}d", [root], FILE, mend="")


ROOTS = ("s3://bucket/sets", "gs://other", "/data")


@pytest.mark.parametrize(
    ("location", "file"),
    [
        ("s3://bucket/sets/train", "s3://bucket/sets/train/manifest.json"),
        ("s3://bucket/sets/train/", "s3://bucket/sets/train/manifest.json"),
        ("s3://bucket/sets/train/manifest.json", "s3://bucket/sets/train/manifest.json"),
        ("s3://bucket/sets", "s3://bucket/sets/manifest.json"),
        ("gs://other/a=1/b c+d", "gs://other/a=1/b c+d/manifest.json"),
        ("/data/train", "/data/train"),
    ],
)
def test_what_lies_below_a_root_is_named_whole(location: str, file: str) -> None:
    assert confined_location(location, ROOTS, FILE, mend="") == file


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("s3://bucket/other", "lies outside s3://bucket/sets, gs://other, /data; mend it"),
        ("s3://bucket/sets-of-others", "lies outside"),
        ("s3://bucket", "lies outside"),
        ("gs://bucket/sets", "lies outside"),
        ("az://bucket/sets", "lies outside"),
        ("http://169.254.169.254/latest/meta-data", "'http' is not read"),
        ("https://bucket/sets", "'https' is not read"),
        ("file:///data/train", "'file' is not read"),
        ("memory://bucket/sets", "'memory' is not read"),
        ("S3://bucket/sets", "'S3' is not read"),
        ("simplecache::s3://bucket/sets", "is not read"),
        ("s3://bucket/sets/../other", "a part that is empty, . or .."),
        ("s3://bucket/sets//train", "a part that is empty"),
        ("s3://bucket/sets/./train", "a part that is empty"),
        ("s3:///sets", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3://bucket/sets/%2e%2e/other", "holds '%'"),
        ("s3://bucket/sets/train?versionId=1", r"holds '\?'"),
        ("s3://bucket/sets/train#a", "holds '#'"),
        ("s3://bucket/sets/tr*n", r"holds '\*'"),
        ("s3://bucket/sets/tr\\ain", "holds"),
        ("s3://bucket/sets/train\0", "holds"),
        ("s3://bucket/sets/tr\nain", "holds"),
        ("s3://bucket/sets/tr\u202eain", "holds"),
        ("s3://key:secret@bucket/sets", "holds credentials"),
        ("s3://key:sec/ret@bucket/sets", "holds credentials"),
        ("s3://key:sec/../ret", "holds credentials"),
        ("s3://bucket/sets/" + MAX_LOCATION_CHARACTERS * "a", "longer than 1,024 characters"),
    ],
)
def test_a_url_that_leads_elsewhere_or_may_mean_something_else_is_refused(
    location: str, problem: str
) -> None:
    with pytest.raises(ConfinementError, match=problem) as refused:
        confined_location(location, ROOTS, FILE, mend="mend it")
    assert not any(part in str(refused.value) for part in ("key", "secret", "sec/"))


@given(st.text(max_size=30), st.sampled_from(["", "s3://bucket/sets/", "s3://"]))
def test_no_text_leads_out_of_the_roots(text: str, before: str) -> None:
    try:
        found = confined_location(before + text, ROOTS[:2], FILE, mend="")
    except ConfinementError:
        return
    assert found.startswith(("s3://bucket/sets/", "gs://other/"))
    assert not {"..", ".", ""} & set(found.partition("://")[2].split("/"))
    assert plain_url(found) == found


def test_a_path_is_refused_where_only_urls_are_allowed() -> None:
    with pytest.raises(ConfinementError, match="is a path, and no folder is allowed; mend it"):
        confined_location("/data/train", ROOTS[:1], FILE, mend="mend it")
