from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.trainer.runs import manifest_of
from trainer.contract.checkpoint import CheckpointManifest

MANIFEST = manifest_of(3).model_dump(mode="json")
VERSION_1: dict[str, Any] = {
    **{name: MANIFEST[name] for name in MANIFEST.keys() - {"data_sha256", "numerics"}},
    "version": 1,
    "num_threads": 2,
    "versions": {"python": "3.11", "torch": "2.0", "project": "0.1.0"},
}


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert CheckpointManifest.model_validate(MANIFEST) == manifest_of(3)


def test_version_1_is_upgraded() -> None:
    upgraded = CheckpointManifest.model_validate(VERSION_1)
    assert upgraded.numerics == {"torch threads": "2", **VERSION_1["versions"]}
    expected = manifest_of(3).model_copy(
        update={"spec_sha256": None, "data_sha256": None, "numerics": upgraded.numerics}
    )
    assert upgraded == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {**VERSION_1, "versions": None},
        {**VERSION_1, "unknown": 1},
        {**MANIFEST, "version": 1},
        {**MANIFEST, "version": 3},
        {**MANIFEST, "num_threads": 1},
        {**MANIFEST, "spec_sha256": "x"},
        [],
    ],
)
def test_what_is_neither_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        CheckpointManifest.model_validate(wrong)
