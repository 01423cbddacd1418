from dataclasses import replace

import pytest
import torch

from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from tests.unit.trainer.batches import make_batch
from trainer.attempt.corruption import CorruptionGuard
from trainer.contract.events import SamplesSkipped
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError


def _corrupt(*keys: str, shard: str = "train-000001.tar") -> list[CorruptSample]:
    return [
        CorruptSample(
            sample=sum(key.encode()),
            shard=shard,
            key=key,
            reason=CorruptReason.NOT_AN_IMAGE if key < "b" else CorruptReason.BROKEN,
            detail=f"{key} is not a JPEG",
        )
        for key in keys
    ]


def _guard(limit: int) -> tuple[CorruptionGuard, list[SamplesSkipped]]:
    told: list[SamplesSkipped] = []
    return CorruptionGuard(limit, Replicas(torch.device("cpu")), told.append), told


def test_skipped_samples_are_named_and_counted() -> None:
    guard, told = _guard(limit=5)
    guard.add(3, "training", _corrupt("a", "b"))
    guard.add(9, "training", _corrupt("c"))
    assert [(event.step, event.samples, event.total) for event in told] == [
        (3, ("train-000001.tar:a", "train-000001.tar:b"), 2),
        (9, ("train-000001.tar:c",), 3),
    ]
    assert told[0].reason == "a is not a JPEG"
    assert [event.by_reason for event in told] == [{"not_an_image": 1, "broken": 1}, {"broken": 1}]


def test_no_event_names_more_than_twenty() -> None:
    guard, told = _guard(limit=100)
    guard.add(0, "training", _corrupt(*(chr(number) for number in range(0x4E00, 0x4E00 + 30))))
    assert len(told[0].samples) == 20
    assert told[0].total == 30
    assert sum(told[0].by_reason.values()) == 30
    assert " and 10 more: " in told[0].in_words()


def test_too_many_fail_by_the_name_of_the_worst_shard() -> None:
    guard, told = _guard(limit=3)
    guard.add(0, "training", _corrupt("a", "b", shard="train-000000.tar"))
    guard.add(1, "training", _corrupt("c"))
    with pytest.raises(BadDataError) as error:
        guard.add(2, "training", _corrupt("d", shard="train-000000.tar"))
    message = str(error.value)
    assert "4 samples could not be read, more than data.corrupt_sample_limit = 3" in message
    assert "3, in train-000000.tar" in message
    assert "train-000000.tar:d: d is not a JPEG" in message
    assert "(3 broken, 1 not an image)" in message
    # They are told of before the end.
    assert told[-1].total == 4


def test_a_sample_met_in_every_epoch_is_one_sample() -> None:
    guard, told = _guard(limit=2)
    for epoch in range(90):
        guard.add(100 * epoch + 3, "training", _corrupt("a"))
        guard.add(100 * epoch + 7, "training", _corrupt("b", "a"))
    assert [(event.step, event.samples, event.total) for event in told] == [
        (3, ("train-000001.tar:a",), 1),
        (7, ("train-000001.tar:b",), 2),
    ]
    # The same number in another shard is another sample.
    with pytest.raises(BadDataError, match="3 samples could not be read"):
        guard.add(9000, "training", _corrupt("a", shard="train-000000.tar"))


def test_sets_whose_shards_have_the_same_names_are_told_apart() -> None:
    guard, told = _guard(limit=3)
    guard.add(0, "training", _corrupt("a", "b", shard="00000.tar"))
    batch = replace(make_batch(), corrupt=tuple(_corrupt("b", shard="00000.tar")))
    list(guard.watch(0, [batch]))
    assert [event.total for event in told] == [2, 3]
    assert guard.by_reason("training") == {"not_an_image": 1, "broken": 1}
    assert guard.by_reason("validation") == {"broken": 1}
    with pytest.raises(BadDataError, match=r"most of them, 2, in 00000\.tar of the training set"):
        guard.add(1, "validation", _corrupt("d", shard="00001.tar"))


def test_of_a_pass_over_the_limit_no_more_are_kept() -> None:
    guard, told = _guard(limit=3)
    batches = [
        replace(make_batch(step=step), corrupt=tuple(_corrupt(chr(0x4E00 + step))))
        for step in range(100)
    ]
    passed = guard.watch(0, batches)
    assert [next(passed) for _ in batches] == batches
    with pytest.raises(BadDataError, match="4 samples could not be read, more than"):
        next(passed)
    assert told[0].total == 4


def test_a_pass_is_passed_on_and_told_of_at_its_end() -> None:
    guard, told = _guard(limit=5)
    batches = [
        replace(make_batch(step=step), corrupt=tuple(corrupt))
        for step, corrupt in enumerate(([], _corrupt("a"), _corrupt("b", "c")))
    ]
    passed = guard.watch(40, batches)
    assert [next(passed), next(passed), next(passed)] == batches
    assert told == []
    assert list(passed) == []
    assert [(event.step, event.total) for event in told] == [(40, 3)]
    assert list(guard.watch(80, batches)) == batches
    assert len(told) == 1


def test_a_pass_without_fault_is_not_told_of() -> None:
    guard, told = _guard(limit=0)
    assert len(list(guard.watch(40, [make_batch()]))) == 1
    assert told == []
