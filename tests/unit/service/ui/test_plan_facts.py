"""A plan as lines."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.ui.plan_facts import plan_facts
from service.views.plans import (
    CheckedShards,
    Plan,
    PlannedDevice,
    PlannedNetwork,
    PlannedSpeed,
    PlannedStart,
    StartEstimate,
)

AT = datetime(2026, 1, 2, tzinfo=UTC)


def plan(**changes: Any) -> Plan:
    device = PlannedDevice(number=0, parts=(), total_bytes=2_000_000_000, fits=True)
    shards = CheckedShards(
        split="train",
        location="/d",
        num_shards=4,
        num_samples=100,
        size_bytes=5_000_000,
        how="sizes",
        num_wrong=0,
        wrong=(),
    )
    whole = Plan(
        steps=9000,
        steps_per_epoch=100,
        epochs=90,
        num_samples=12_800,
        network=PlannedNetwork(
            parameters=61_000_000,
            multiply_adds_per_image=1,
            exchanged_bytes_per_image=8700,
            micro_batch_size=128,
            devices=(device,),
        ),
        shards=(shards,),
        speed=PlannedSpeed(
            images_per_second=1234.5, duration_s=7200, like_job="a", basis="as job a trained"
        ),
        start=PlannedStart(when="now", message="two GPUs are free", accelerator="gpu"),
    )
    return whole.model_copy(update=changes)


def told(one: Plan) -> dict[str, tuple[str, str]]:
    return {fact.name: (fact.value, fact.tone) for fact in plan_facts(one)}


def test_what_decides_is_told_first() -> None:
    lines = told(plan())
    assert list(lines)[:3] == ["Starts", "Takes", "Speed"]
    assert lines["Starts"] == ("at once", "good")
    assert lines["Takes"] == ("2 h 0 min", "")
    assert lines["Speed"] == ("1,234 images/s", "")
    assert lines["Memory of device 0"] == ("2.0 GB", "good")
    assert lines["Train shards"] == ("4", "")


def test_what_is_not_known_is_said_to_be() -> None:
    speed = PlannedSpeed(
        images_per_second=None, duration_s=None, like_job=None, basis="none like it"
    )
    lines = told(plan(speed=speed, network=None))
    assert (lines["Takes"][0], lines["Speed"][0]) == ("not known", "not known")
    assert "Parameters" not in lines


@pytest.mark.parametrize(
    ("fits", "tone", "says"),
    [(True, "good", "fits"), (False, "bad", "does not fit"), (None, "hold", "not known whether")],
)
def test_memory_is_told_with_whether_it_fits(fits: bool | None, tone: str, says: str) -> None:
    device = PlannedDevice(number=1, parts=(), total_bytes=1, fits=fits, capacity_basis="80 GB")
    network = plan().network
    assert network is not None
    changed = network.model_copy(update={"devices": (device,)})
    (fact,) = [one for one in plan_facts(plan(network=changed)) if one.name.startswith("Memory")]
    assert fact.tone == tone
    assert f"{says}" in fact.note
    assert "80 GB" in fact.note


def test_shards_that_are_wrong_are_named() -> None:
    shards = plan().shards[0].model_copy(update={"num_wrong": 1, "wrong": ("b.tar is missing",)})
    (fact,) = [one for one in plan_facts(plan(shards=(shards,))) if one.name == "Train shards"]
    assert fact.tone == "bad"
    assert "b.tar is missing" in fact.note


def test_a_job_that_waits_says_how_long_and_behind_how_many() -> None:
    start = PlannedStart(
        when="waits",
        message="no GPU is free",
        accelerator="gpu",
        num_ahead=3,
        estimate=StartEstimate(at=AT, in_s=600, basis="by their plans"),
    )
    fact = plan_facts(plan(start=start))[0]
    assert (fact.value, fact.tone) == ("in 10 min", "hold")
    assert "3 go first" in fact.note
