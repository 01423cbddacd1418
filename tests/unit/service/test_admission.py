from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.manifest import ManifestError
from service.admission import admit_request, confine
from service.problems import SpecRefusedError
from tests.unit.service.conftest import write_manifest

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
        found = confine(location, [root])
    except ManifestError:
        return
    assert found == found.resolve()
    assert found.is_relative_to(root)


def test_a_relative_path_is_that_of_the_first_root_that_has_it(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("first", "second")]
    second = write_manifest(roots[1] / "train")
    assert confine("train", roots) == second
    first = write_manifest(roots[0] / "train")
    assert confine("train", roots) == first


def test_what_is_admitted_is_whole_and_what_is_not_names_every_manifest_at_fault(
    data_root: Path, tmp_path: Path, request_body: dict[str, Any]
) -> None:
    spec = admit_request(
        request_body | {"data": {"train": "train", "validation": "validation"}}, [data_root]
    )
    assert spec.data.train == str(data_root / "train" / "manifest.json")
    assert spec.model.width == 0.25
    with pytest.raises(SpecRefusedError) as refused:
        admit_request(request_body, [tmp_path])
    assert [error.field for error in refused.value.errors] == ["data.train", "data.validation"]
