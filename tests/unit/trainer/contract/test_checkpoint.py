import pytest
from pydantic import ValidationError

from tests.unit.trainer.runs import manifest_of
from trainer.contract.checkpoint import CheckpointManifest

MANIFEST = manifest_of(3).model_dump(mode="json")


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert CheckpointManifest.model_validate(MANIFEST) == manifest_of(3)


@pytest.mark.parametrize(
    "wrong",
    [
        {**MANIFEST, "version": 2},
        {**MANIFEST, "unknown": 1},
        {**MANIFEST, "spec_sha256": "x"},
        {**MANIFEST, "data_sha256": None},
        [],
    ],
)
def test_what_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        CheckpointManifest.model_validate(wrong)
