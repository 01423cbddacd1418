from pathlib import Path

import pytest

from tests.unit.trainer.runs import DATA_SHA256, manifest_of
from trainer.contract.attempt import Reason
from trainer.contract.checkpoint_folder import Checkpoint, CheckpointError
from trainer.contract.ensemble import MeasuredData, check_member
from trainer.contract.model_spec import ModelSpec

MANIFEST = manifest_of(10)
CHECKPOINT = Checkpoint(
    Path("/runs/a/step-00000010"), MANIFEST.model_copy(update={"model": ModelSpec()})
)
OF_FIRST_RELEASE = Checkpoint(CHECKPOINT.folder, MANIFEST)
DATA = MeasuredData(train_sha256=DATA_SHA256.train, num_classes=10, image_size=256)
FIRST = ModelSpec(num_classes=10)


@pytest.mark.parametrize(
    "model",
    [FIRST, ModelSpec(num_classes=10, sixth_conv=True), ModelSpec(num_classes=10, input_size=256)],
)
def test_different_networks_of_the_same_classes_fit(model: ModelSpec) -> None:
    check_member(CHECKPOINT, model, DATA, first=FIRST)


def test_outputs_beyond_the_classes_do_no_harm() -> None:
    model = ModelSpec(num_classes=1000)
    check_member(CHECKPOINT, model, DATA, first=model)


@pytest.mark.parametrize(
    ("model", "first", "data", "reason", "problem"),
    [
        (
            FIRST,
            FIRST,
            MeasuredData(train_sha256="c" * 64, num_classes=10, image_size=256),
            Reason.BAD_DATA,
            "was trained on other data than data.train",
        ),
        (ModelSpec(num_classes=11), FIRST, DATA, Reason.BAD_SPEC, "cannot be averaged"),
        (
            ModelSpec(num_classes=9),
            ModelSpec(num_classes=9),
            DATA,
            Reason.BAD_SPEC,
            "9 outputs, fewer than the 10 classes",
        ),
        (
            ModelSpec(num_classes=10, input_size=257),
            FIRST,
            DATA,
            Reason.BAD_SPEC,
            "crops of 257 pixels, which do not fit into images of 256",
        ),
    ],
)
def test_what_does_not_fit_is_refused_for_good_and_by_name(
    model: ModelSpec, first: ModelSpec, data: MeasuredData, reason: Reason, problem: str
) -> None:
    with pytest.raises(CheckpointError) as refused:
        check_member(CHECKPOINT, model, data, first=first)
    assert refused.value.reason is reason
    assert problem in str(refused.value)
    assert str(CHECKPOINT.folder) in str(refused.value)


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (ModelSpec(num_classes=11), FIRST),
        (ModelSpec(num_classes=9), ModelSpec(num_classes=9)),
        (ModelSpec(num_classes=10, input_size=257), FIRST),
    ],
)
def test_where_the_network_is_the_specs_it_is_said(model: ModelSpec, first: ModelSpec) -> None:
    for checkpoint, is_said in ((CHECKPOINT, False), (OF_FIRST_RELEASE, True)):
        with pytest.raises(CheckpointError) as refused:
            check_member(checkpoint, model, DATA, first=first)
        assert ("set model as it was in their job" in str(refused.value)) == is_said
