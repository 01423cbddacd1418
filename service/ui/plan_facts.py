"""A plan as lines that people read. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from service.ui import formats
from service.views.plans import CheckedShards, Plan, PlannedDevice, PlannedNetwork, PlannedSpeed

Tone = Literal["", "good", "bad", "hold"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line."""

    name: str
    value: str
    note: str = ""
    tone: Tone = ""


def plan_facts(plan: Plan) -> list[Fact]:
    """Return the lines of a plan, what decides first."""
    return [
        _start(plan),
        *_speed(plan.speed),
        Fact(
            name="Steps",
            value=formats.count(plan.steps),
            note=f"{plan.steps_per_epoch:,} an epoch, {plan.epochs:g} epochs, "
            f"{plan.num_samples:,} samples",
        ),
        *(() if plan.network is None else _network(plan.network)),
        *map(_shards, plan.shards),
    ]


def _start(plan: Plan) -> Fact:
    tones: dict[str, Tone] = {"now": "good", "waits": "hold", "never": "bad"}
    start = plan.start
    value = {"now": "at once", "waits": "waits", "never": "never"}.get(start.when, "not known")
    estimate = start.estimate
    if start.when == "waits" and estimate is not None and estimate.in_s is not None:
        value = f"in {formats.duration(estimate.in_s)}"
    ahead = f"; {start.num_ahead:,} go first" if start.num_ahead else ""
    return Fact(
        name="Starts", value=value, note=f"{start.message}{ahead}", tone=tones.get(start.when, "")
    )


def _speed(speed: PlannedSpeed) -> Iterator[Fact]:
    yield Fact(
        name="Takes",
        value="not known" if speed.duration_s is None else formats.duration(speed.duration_s),
        note="" if speed.duration_s is None else "with evaluations",
    )
    rate = speed.images_per_second
    yield Fact(
        name="Speed",
        value="not known" if rate is None else f"{formats.count(rate)} images/s",
        note=speed.basis,
    )


def _network(network: PlannedNetwork) -> Iterator[Fact]:
    yield Fact(
        name="Parameters",
        value=formats.count(network.parameters),
        note=f"{formats.size(network.exchanged_bytes_per_image)} between the towers an image",
    )
    yield from (_memory(device, network) for device in network.devices)


def _memory(device: PlannedDevice, network: PlannedNetwork) -> Fact:
    told: dict[bool | None, tuple[str, Tone]] = {
        True: ("fits", "good"),
        False: ("does not fit", "bad"),
        None: ("not known whether it fits", "hold"),
    }
    word, tone = told[device.fits]
    basis = f": {device.capacity_basis}" if device.capacity_basis else ""
    return Fact(
        name=f"Memory of device {device.number}",
        value=formats.size(device.total_bytes),
        note=f"at {network.micro_batch_size:,} images; {word}{basis}",
        tone=tone,
    )


def _shards(shards: CheckedShards) -> Fact:
    wrong = f"; {shards.num_wrong:,} are wrong: {', '.join(shards.wrong)}"
    return Fact(
        name=f"{shards.split.capitalize()} shards",
        value=formats.count(shards.num_shards),
        note=f"{shards.num_samples:,} samples, {formats.size(shards.size_bytes)}; compared: "
        f"{shards.how}{wrong if shards.num_wrong else ''}",
        tone="bad" if shards.num_wrong else "",
    )
