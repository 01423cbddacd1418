from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.confinement import ConfinementError, confined
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
        ("s3://bucket/train", "is a URL"),
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
