"""What a network is made of, and what a replica of it needs, before anything is built.

All of it is arithmetic on the table of layers; nothing is measured.
"""

from trainer.contract.geometry import INPUT_PADDING
from trainer.contract.layers import Layer, layers
from trainer.contract.model import Record
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec

_FP32_BYTES = 4
_ARITHMETIC_BYTES = {"fp32": 4, "bf16": 2}
# torch keeps an int64 index for every maximum that a pool took, and a bool for every dropped unit.
_POOL_INDEX_BYTES = 8
_MASK_BYTES = 1


class LayerLine(Record):
    """One layer with weights; shapes are channels, height, width, of all towers together."""

    name: str
    output: tuple[int, ...]
    pooled: tuple[int, ...] | None
    """After the max pool that follows; None where none follows."""
    parameters: int
    """0 of a layer that is removed."""
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

    Counted as torch's autograd keeps them in channels_last: each tensor once, however many layers
    read it. The fused kernels of the CPU keep less.
    """
    kept_bytes = 0
    # Whether a tower's current tensor is among those counted.
    is_kept = False
    for layer in layers(model):
        num_towers = sum(tower < layer.num_towers for tower in towers)
        if layer.has_weights and (layer.reads_both or not is_kept):
            # What both towers read lies on a device once: both halves side by side.
            num_read = min(num_towers, 1) if layer.reads_both else num_towers
            kept_bytes += num_read * _inputs(layer, model) * element_bytes
        kept_elements, other_bytes, is_kept = _kept_by_operations(layer, is_kept=is_kept)
        kept_bytes += num_towers * (kept_elements * element_bytes + other_bytes)
        if layer.name == "fc8":
            # The loss is fp32 in either arithmetic.
            kept_bytes += num_towers * layer.outputs * _FP32_BYTES
    return kept_bytes


def _kept_by_operations(layer: Layer, *, is_kept: bool) -> tuple[int, int, bool]:
    """Return the elements that what follows a layer keeps, other bytes, and is_kept behind it."""
    elements = other_bytes = 0
    is_kept = is_kept and not layer.has_weights
    size = layer.outputs * layer.map_size**2
    for operation in layer.then:
        if operation == "dropout":
            other_bytes += size * _MASK_BYTES
            is_kept = False
            continue
        if operation == "flatten":
            # A copy, for channels lie innermost; but of maps of one pixel a view.
            is_kept = is_kept and size == layer.outputs
            continue
        # An activation keeps its result, the others what they read.
        elements += 0 if is_kept else size
        is_kept = operation == "activation"
        if operation == "within_map_norm":
            # Its squares, its divisor, the power of that.
            elements += 3 * size
        if operation == "pool":
            assert layer.pooled_size is not None
            size = layer.outputs * layer.pooled_size**2
            other_bytes += size * _POOL_INDEX_BYTES
    return elements, other_bytes, is_kept


def _line(layer: Layer, element_bytes: int) -> LayerLine:
    channels = layer.num_towers * layer.outputs
    is_conv = layer.kind != "linear"
    return LayerLine(
        name=layer.name,
        output=(channels, layer.map_size, layer.map_size) if is_conv else (channels,),
        pooled=(channels, layer.pooled_size, layer.pooled_size) if layer.pooled_size else None,
        parameters=layer.num_parameters,
        multiply_adds=layer.num_multiply_adds,
        exchanged_bytes=layer.crossing_elements * element_bytes,
    )


def _devices(spec: JobSpec) -> tuple[DeviceMemory, ...]:
    towers = tuple(range(spec.model.towers))
    one_each = spec.scale.devices_per_replica == len(towers)
    placement = tuple((tower,) for tower in towers) if one_each else (towers,)
    return tuple(_memory(spec, placed) for placed in placement)


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


def _inputs(layer: Layer, model: ModelSpec) -> int:
    """Return the elements that one tower's part reads of an image."""
    if layer.name == "conv1":
        return layer.inputs * (model.input_size + INPUT_PADDING) ** 2
    # No other convolution has a stride.
    return layer.inputs * layer.map_size**2
