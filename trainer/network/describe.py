"""A network's description for the terminal: the answer of `describe`."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.contract.description import Description


def tables(description: Description) -> Group:
    """Return the description for a terminal of 80 columns."""
    columns = ("layer", "output", "pooled", "parameters", "mult-adds", "exchanged")
    by_layer = Table(title="Layers, all towers; per image, forward", title_justify="left")
    for place, column in enumerate(columns):
        by_layer.add_column(column, justify="left" if place < 3 else "right", no_wrap=True)
    for line in description.layers:
        by_layer.add_row(
            line.name,
            _shape(line.output),
            _shape(line.pooled) if line.pooled else "",
            f"{line.parameters:,}" if line.parameters else "removed",
            f"{line.multiply_adds / 1e6:,.1f} M" if line.multiply_adds else "",
            f"{line.exchanged_bytes:,} B" if line.exchanged_bytes else "",
        )
    by_layer.add_section()
    by_layer.add_row(
        *("total", "", "", f"{description.parameters:,}"),
        f"{description.multiply_adds / 1e6:,.1f} M",
        f"{description.exchanged_bytes_per_image:,} B",
    )
    by_device = Table(title=f"Memory of a replica, {description.precision}", title_justify="left")
    for column in ("", "weights", "velocity", "gradients", "activations"):
        by_device.add_column(column, justify="right", no_wrap=True)
    by_device.add_column(f"total at {description.micro_batch_size}", justify="right", no_wrap=True)
    for number, device in enumerate(description.devices):
        by_device.add_row(
            f"device {number}",
            _mib(device.weights_bytes),
            _mib(device.velocity_bytes),
            _mib(device.gradients_bytes),
            f"{_mib(device.activations_bytes_per_image)}/image",
            _mib(device.total_bytes),
        )
    return Group(by_layer, Text(), by_device)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _mib(size_bytes: int) -> str:
    mib = size_bytes / 2**20
    return f"{mib:,.1f} MiB" if mib < 100 else f"{mib:,.0f} MiB"
