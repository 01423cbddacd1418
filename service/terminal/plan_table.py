"""A plan as a table for the terminal."""

from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from service.views.plans import (
    CheckedShards,
    PlannedDevice,
    PlannedEvaluations,
    PlannedJob,
    PlannedNetwork,
    PlannedSpeed,
    StartEstimate,
)


def plan_table(planned: PlannedJob) -> Table:
    """All of a plan, a line each."""
    plan = planned.plan
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("name", Text(planned.spec.name))
    steps = f"{plan.steps:,}, {plan.steps_per_epoch:,} an epoch, {plan.epochs:g} epochs"
    table.add_row("steps", steps)
    table.add_row("samples", f"{plan.num_samples:,}")
    if plan.network is not None:
        _add_network(table, plan.network)
    for shards in plan.shards:
        table.add_row(f"{shards.split} shards", Text(_shards(shards)))
        for wrong in shards.wrong:
            table.add_row("", Text(wrong, style="red"))
    table.add_row("speed", Text(_speed(plan.speed)))
    if plan.speed.evaluations is not None:
        table.add_row("evaluations", Text(_evaluations(plan.speed.evaluations)))
    if plan.speed.training_s is not None and plan.speed.duration_s is not None:
        table.add_row("duration", f"{_duration(plan.speed.duration_s)} with evaluations")
    table.add_row("start", Text(f"{plan.start.when}: {plan.start.message}"))
    if plan.start.estimate is not None and plan.start.when == "waits":
        table.add_row("starts at", Text(_estimate(plan.start.estimate)))
    for job in plan.start.ahead:
        left = "" if job.seconds_left is None else f", {_duration(job.seconds_left)} left"
        name = job.id or "a private job"
        table.add_row("", f"behind {name}, {job.status}{left}")
    if (num_more := plan.start.num_ahead - len(plan.start.ahead)) > 0:
        table.add_row("", f"behind {num_more:,} more")
    return table


def _add_network(table: Table, network: PlannedNetwork) -> None:
    table.add_row("parameters", f"{network.parameters:,}")
    table.add_row("exchanged", f"{network.exchanged_bytes_per_image:,} bytes an image, forward")
    for device in network.devices:
        total = f"{_mib(device.total_bytes)} at {network.micro_batch_size:,} images"
        table.add_row(f"device {device.number}", total)
        table.add_row("", _fit(device))
        for part in device.parts:
            line = f"{part.name} {_mib(part.size_bytes)}, {part.basis}: {part.formula}"
            table.add_row("", Text(line, style="dim"))


def _shards(shards: CheckedShards) -> str:
    wrong = f"; {shards.num_wrong:,} are wrong" if shards.num_wrong else ""
    held = f"{shards.num_samples:,} samples, {shards.size_bytes / 1e6:,.1f} MB"
    return f"{shards.num_shards:,}, {held}; compared: {shards.how}{wrong}"


def _fit(device: PlannedDevice) -> Text:
    if device.fits is None:
        why = device.capacity_basis or "the cluster is not known"
        return Text(f"not known whether it fits: {why}", style="yellow")
    word, style = ("fits", "green") if device.fits else ("DOES NOT FIT", "bold red")
    return Text(f"{word}: {device.capacity_basis}", style=style)


def _speed(speed: PlannedSpeed) -> str:
    training_s = speed.duration_s if speed.training_s is None else speed.training_s
    if speed.images_per_second is None or training_s is None:
        return f"not known: {speed.basis}"
    rate = f"{speed.images_per_second:,.0f} images/s, {_duration(training_s)} of training"
    return f"{rate}; {speed.basis}"


def _evaluations(evaluations: PlannedEvaluations) -> str:
    passes = f"{evaluations.num_passes:,} by the centre crop"
    if evaluations.num_final_passes:
        passes += f", {evaluations.num_final_passes:,} by ten views"
    passes += f", of {evaluations.images_per_pass:,} images"
    if evaluations.duration_s is None:
        return f"{passes}; {evaluations.basis}"
    return f"{passes}: {_duration(evaluations.duration_s)}; {evaluations.basis}"


def _estimate(estimate: StartEstimate) -> str:
    if estimate.at is not None and estimate.in_s is not None:
        return f"{_utc(estimate.at)}, in {_duration(estimate.in_s)}; {estimate.basis}"
    known = [
        f"{word} {_utc(at)}"
        for word, at in (
            ("at the earliest", estimate.earliest_at),
            ("at the latest", estimate.latest_at),
        )
        if at is not None
    ]
    return f"{', '.join(known) or 'not known'}; {estimate.basis}"


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"
