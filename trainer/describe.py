"""What a network is made of, and what a replica of it needs: the answer of `describe`.

All of it is arithmetic on the table of layers; nothing is built and nothing is measured.
"""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.contract.geometry import INPUT_PADDING
from trainer.contract.model import Record
from trainer.contract.spec import JobSpec, ModelSpec
from trainer.layers import Layer, layers

_FP32_BYTES = 4
_ARITHMETIC_BYTES = {"fp32": 4, "bf16": 2}
# torch keeps an int64 index for every maximum that a pool took, and a bool for every dropped unit.
_POOL_INDEX_BYTES = 8
_MASK_BYTES = 1


class LayerLine(Record):
    """One layer with weights; shapes are channels, height, width, of both towers together."""

    name: str
    output: tuple[int, ...]
    pooled: tuple[int, ...] | None
    """After the max pool that follows; None where none follows."""
    parameters: int
    multiply_adds: int
    """Forward, per image."""
    exchanged_bytes: int
    """Between the towers before this layer, forward, per image."""


class DeviceMemory(Record):
    """What one device holds while it trains, in bytes; torch's workspaces come on top."""

    weights_bytes: int
    """fp32; in bf16 the copies that the arithmetic uses as well."""
    velocity_bytes: int
    gradients_bytes: int
    activations_bytes_per_image: int
    """What the backward pass needs again of the forward pass."""
    total_bytes: int
    """At a micro-batch."""


class Description(Record):
    """A network at a precision, on one or two devices."""

    precision: str
    micro_batch_size: int
    layers: tuple[LayerLine, ...]
    parameters: int
    multiply_adds: int
    exchanged_bytes_per_image: int
    devices: tuple[DeviceMemory, ...]


def describe(spec: JobSpec) -> Description:
    """Describe the network of a job and the memory of one of its replicas."""
    element_bytes = _ARITHMETIC_BYTES[spec.precision]
    lines = tuple(_line(layer, element_bytes) for layer in layers(spec.model))
    return Description(
        precision=spec.precision,
        micro_batch_size=spec.optim.micro_batch_size or spec.replica_batch_size,
        layers=lines,
        parameters=sum(line.parameters for line in lines),
        multiply_adds=sum(line.multiply_adds for line in lines),
        exchanged_bytes_per_image=sum(line.exchanged_bytes for line in lines),
        devices=_devices(spec),
    )


def activation_bytes(model: ModelSpec, element_bytes: int, towers: tuple[int, ...]) -> int:
    """Return the bytes that a device with these towers keeps of a training image's forward pass.

    Counted as torch's autograd keeps them: each tensor once, however many layers read it. The fused
    kernels of the CPU keep less.
    """
    conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8 = layers(model)
    # ReLU works in place, so that a layer's output before it is never kept.
    kept = [3 * (model.input_size + INPUT_PADDING) ** 2]
    kept += [_map(layer) for layer in (conv1, conv2, conv3, conv4, conv5)]
    kept += [_pooled(conv1), fc6.outputs, fc7.outputs]
    if model.lrn:
        kept += [_map(conv1), _map(conv2)]
    if model.lrn and model.recipe == "source2012":
        # The norm within each map: its squares, its divisor, the power of it, its result.
        kept += [4 * _map(conv2)]
    elements = sum(kept) * len(towers)
    # Both towers' halves together, once a device: they lie there side by side.
    elements += _inputs(conv3) + _inputs(fc6) + _inputs(fc7)
    if 0 in towers:
        elements += _inputs(fc8)
    indices = sum(_pooled(layer) for layer in (conv1, conv2, conv5)) * len(towers)
    masks = (fc6.outputs + fc7.outputs) * len(towers) if model.dropout else 0
    # The loss is fp32 in either arithmetic.
    loss = fc8.outputs if 0 in towers else 0
    return (
        elements * element_bytes
        + indices * _POOL_INDEX_BYTES
        + masks * _MASK_BYTES
        + loss * _FP32_BYTES
    )


def tables(description: Description) -> Group:
    """Return the description for a terminal of 80 columns."""
    columns = ("layer", "output", "pooled", "parameters", "mult-adds", "exchanged")
    by_layer = Table(title="Layers, both towers; per image, forward", title_justify="left")
    for place, column in enumerate(columns):
        by_layer.add_column(column, justify="left" if place < 3 else "right", no_wrap=True)
    for line in description.layers:
        by_layer.add_row(
            line.name,
            _shape(line.output),
            _shape(line.pooled) if line.pooled else "",
            f"{line.parameters:,}",
            f"{line.multiply_adds / 1e6:,.1f} M",
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


def _line(layer: Layer, element_bytes: int) -> LayerLine:
    channels = layer.num_towers * layer.outputs
    is_conv = layer.kind == "conv"
    return LayerLine(
        name=layer.name,
        output=(channels, layer.map_size, layer.map_size) if is_conv else (channels,),
        pooled=(channels, layer.pooled_size, layer.pooled_size) if layer.pooled_size else None,
        parameters=layer.num_parameters,
        multiply_adds=layer.num_multiply_adds,
        exchanged_bytes=layer.crossing_elements * element_bytes,
    )


def _devices(spec: JobSpec) -> tuple[DeviceMemory, ...]:
    placement = ((0,), (1,)) if spec.scale.devices_per_replica == 2 else ((0, 1),)
    return tuple(_memory(spec, towers) for towers in placement)


def _memory(spec: JobSpec, towers: tuple[int, ...]) -> DeviceMemory:
    element_bytes = _ARITHMETIC_BYTES[spec.precision]
    # fc8 lies whole on the first tower's device.
    parameters = sum(
        layer.num_parameters // layer.num_towers * sum(tower < layer.num_towers for tower in towers)
        for layer in layers(spec.model)
    )
    copies_bytes = 0 if spec.precision == "fp32" else parameters * element_bytes
    fp32_bytes = parameters * _FP32_BYTES
    per_image = activation_bytes(spec.model, element_bytes, towers)
    micro_batch_size = spec.optim.micro_batch_size or spec.replica_batch_size
    return DeviceMemory(
        weights_bytes=fp32_bytes + copies_bytes,
        velocity_bytes=fp32_bytes,
        gradients_bytes=fp32_bytes,
        activations_bytes_per_image=per_image,
        total_bytes=3 * fp32_bytes + copies_bytes + micro_batch_size * per_image,
    )


def _map(layer: Layer) -> int:
    return layer.outputs * layer.map_size**2


def _pooled(layer: Layer) -> int:
    assert layer.pooled_size is not None
    return layer.outputs * layer.pooled_size**2


def _inputs(layer: Layer) -> int:
    read_map_size = layer.map_size if layer.kind == "conv" else 1
    return layer.inputs * read_map_size**2


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _mib(size_bytes: int) -> str:
    mib = size_bytes / 2**20
    return f"{mib:,.1f} MiB" if mib < 100 else f"{mib:,.0f} MiB"
