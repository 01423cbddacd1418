from typing import get_args

import pytest
from pydantic import ValidationError

from data_shards.feeding.corrupt import CorruptReason
from trainer.contract.events import (
    MAX_REPLICAS_TOLD,
    CorruptReasonName,
    Progress,
    SamplesSkipped,
    in_words,
)


def skipped(**by_reason: int) -> SamplesSkipped:
    return SamplesSkipped(
        step=7,
        samples=("a.tar:1", "a.tar:2"),
        reason="is not a JPEG",
        by_reason=by_reason,
        total=9,
    )


def test_every_reason_can_be_told() -> None:
    assert get_args(CorruptReasonName) == tuple(CorruptReason)
    counts = dict.fromkeys(CorruptReason, 1)
    event = skipped(**counts)
    again = SamplesSkipped.model_validate_json(event.model_dump_json())
    assert again.by_reason == counts


def test_an_event_of_the_first_release_is_read() -> None:
    document = {
        "kind": "samples_skipped",
        "step": 7,
        "samples": ["a.tar:1"],
        "reason": "end of JPEG",
        "total": 1,
    }
    event = SamplesSkipped.model_validate(document)
    assert event.by_reason == {}
    assert event.in_words() == "skipped a.tar:1: end of JPEG"


PROGRESS = {
    "kind": "progress",
    "step": 7,
    "epoch": 0.7,
    "planned_steps": 10,
    "loss": 1.5,
    "learning_rate": 0.01,
    "images_per_second": 100.0,
    "data_wait_ratio": 0.25,
}


def test_progress_of_the_first_release_is_read() -> None:
    read = Progress.model_validate(PROGRESS)
    assert (read.phase_seconds, read.replica_images_per_second) == ({}, ())


def test_rates_of_replicas_stay_few_and_none_is_negative() -> None:
    for rates in ([1.0] * (MAX_REPLICAS_TOLD + 1), [-1.0]):
        with pytest.raises(ValidationError):
            Progress.model_validate(PROGRESS | {"replica_images_per_second": rates})


def test_phases_by_their_former_names_are_read() -> None:
    former = {"prepare": 0.1, "compute": 0.5, "update": 0.2, "data_wait": 0.3}
    read = Progress.model_validate(PROGRESS | {"phase_seconds": former}).phase_seconds
    assert read == {"transfer": 0.1, "compute": 0.5, "optimizer": 0.2, "data_wait": 0.3}


@pytest.mark.parametrize("phase_seconds", [{"thinking": 1.0}, {"compute": -1.0}])
def test_phases_stay_few_and_no_time_is_negative(phase_seconds: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Progress.model_validate(PROGRESS | {"phase_seconds": phase_seconds})


@pytest.mark.parametrize(
    "by_reason",
    [{"not an image": 1}, {"": 1}, {'a"}': 1}, {"unforeseen": 1}, {"broken": 0}, {"broken": -1}],
)
def test_reasons_stay_few_and_fit_for_a_label(by_reason: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        skipped(**by_reason)


def test_words_for_people() -> None:
    assert skipped(not_an_image=2).in_words() == "skipped a.tar:1, a.tar:2: is not a JPEG"
    assert skipped(not_an_image=1, broken=8).in_words() == (
        "skipped a.tar:1, a.tar:2 and 7 more: 8 broken, 1 not an image; the first: is not a JPEG"
    )
    assert in_words({"broken": 1200, "wrong_size": 3, "not_an_image": 3}) == (
        "1,200 broken, 3 not an image, 3 wrong size"
    )
    assert in_words({}) == ""
