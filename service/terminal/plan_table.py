"""A plan as a table for the terminal."""

from datetime import timedelta

from rich.table import Table
from rich.text import Text

from service.views.plans import CheckedShards, Plan, PlannedJob, PlannedNetwork


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
    table.add_row("speed", Text(_speed(plan)))
    table.add_row("start", Text(f"{plan.start.when}: {plan.start.message}"))
    for job in plan.start.ahead:
        left = "" if job.seconds_left is None else f", {_duration(job.seconds_left)} left"
        name = job.id or "a private job"
        table.add_row("", f"behind {name}, {job.status}{left}")
    return table


def _add_network(table: Table, network: PlannedNetwork) -> None:
    table.add_row("parameters", f"{network.parameters:,}")
    table.add_row("exchanged", f"{network.exchanged_bytes_per_image:,} bytes an image, forward")
    for device in network.devices:
        total = f"{_mib(device.total_bytes)} at {network.micro_batch_size:,} images"
        table.add_row(f"device {device.number}", total)
        for part in device.parts:
            line = f"{part.name} {_mib(part.size_bytes)}, {part.basis}: {part.formula}"
            table.add_row("", Text(line, style="dim"))


def _shards(shards: CheckedShards) -> str:
    wrong = f"; {shards.num_wrong:,} are wrong" if shards.num_wrong else ""
    held = f"{shards.num_samples:,} samples, {shards.size_bytes / 1e6:,.1f} MB"
    return f"{shards.num_shards:,}, {held}; compared: {shards.how}{wrong}"


def _speed(plan: Plan) -> str:
    speed = plan.speed
    if speed.images_per_second is None or speed.duration_s is None:
        return f"not known: {speed.basis}"
    rate = f"{speed.images_per_second:,.0f} images/s, {_duration(speed.duration_s)} of training"
    return f"{rate}; {speed.basis}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"
