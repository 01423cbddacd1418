"""The layers of the network as a table: channels, sizes, what follows, what crosses (section 3).

Pure arithmetic on a ModelSpec; the network is built from it and `describe` prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from trainer.contract.geometry import NARROWEST_LAYER, map_sizes
from trainer.contract.model_spec import LayerName, ModelSpec

Operation = Literal["activation", "lrn", "within_map_norm", "pool", "flatten", "dropout"]

# Outputs of each of two towers at width 1 (Fig. 2); of conv6 as in #146 of the 2012 source.
_OUTPUTS: Mapping[LayerName, int] = {
    "conv1": NARROWEST_LAYER,
    "conv2": 128,
    "conv3": 192,
    "conv4": 192,
    "conv5": 128,
    "conv6": 128,
    "fc6": 2048,
    "fc7": 2048,
}
# Kernel, stride and padding: section 3.5; of conv6 as in #146.
_WINDOWS: Mapping[LayerName, tuple[int, int, int]] = {
    "conv1": (11, 4, 0),
    "conv2": (5, 1, 2),
    "conv3": (3, 1, 1),
    "conv4": (3, 1, 1),
    "conv5": (3, 1, 1),
    "conv6": (3, 1, 1),
}
# The one-GPU net: from conv5 on it has what both towers have together (footnote 1; conv6 assumed).
_OUTPUTS_OF_ONE_TOWER: Mapping[LayerName, int] = {
    "conv5": 256,
    "conv6": 256,
    "fc6": 4096,
    "fc7": 4096,
}
# Towers that do not read each other: `layers-150.cfg` of the 2012 source.
_OUTPUTS_APART: Mapping[LayerName, int] = {"conv2": 160, "fc6": 4096}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, as each of its towers sees it, with what follows it before the next."""

    name: LayerName
    kind: Literal["conv", "linear", "removed"]
    """removed: its weights and its activation are left out, and the rest of it stays."""
    num_towers: int
    """1 for fc8, which lies whole on the first tower's device, and in a network of one tower."""
    inputs: int
    """Channels or features that one tower's part reads."""
    outputs: int
    """Channels or features that one tower's part gives."""
    then: tuple[Operation, ...] = ()
    """What follows the weights, in the recipe's order."""
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    map_size: int = 1
    """Edge of the output map before pooling."""
    pooled_size: int | None = None
    """Edge after the max pool that follows; None where none follows."""
    reads_both: bool = False
    """Whether it reads both towers' outputs, so that tensors cross before it."""

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to learn."""
        return self.kind != "removed"

    @property
    def num_parameters(self) -> int:
        """Weights and biases, all towers."""
        if not self.has_weights:
            return 0
        return self.num_towers * self.outputs * (self.inputs * self.kernel**2 + 1)

    @property
    def num_multiply_adds(self) -> int:
        """Of a forward pass, per image, all towers."""
        if not self.has_weights:
            return 0
        per_position = self.outputs * self.inputs * self.kernel**2
        return self.num_towers * per_position * self.map_size**2

    @property
    def num_given(self) -> int:
        """Channels, or features where the maps are flattened, that the next layer reads of each."""
        if "flatten" not in self.then:
            return self.outputs
        return self.outputs * (self.pooled_size or self.map_size) ** 2

    @property
    def crossing_elements(self) -> int:
        """Elements that cross between the towers before this layer, per image, forward.

        Each of its towers reads the other half of the inputs from the other tower.
        """
        if not self.reads_both:
            return 0
        read_map_size = self.map_size if self.kind == "conv" else 1
        return self.num_towers * (self.inputs // 2) * read_map_size**2


def layers(model: ModelSpec) -> tuple[Layer, ...]:
    """Return conv1 to fc8 for a spec; total 60,965,224 parameters at the paper's."""
    size1, size2, size3, size5 = map_sizes(model.input_size)
    map_size: dict[LayerName, int] = {"conv1": size1, "conv2": size2, "conv6": size5}
    pooled_size: dict[LayerName, int] = {"conv1": size2, "conv2": size3, "conv5": size5}
    readers_of_both = _readers_of_both(model)
    table: list[Layer] = []
    num_given = 3
    for name in _names(model):
        is_conv, is_removed = name in _WINDOWS, name == model.removed_layer
        reads_both = name in readers_of_both
        kernel, stride, padding = _WINDOWS.get(name, (1, 1, 0))
        layer = Layer(
            name=name,
            kind="removed" if is_removed else "conv" if is_conv else "linear",
            num_towers=1 if name == "fc8" else model.towers,
            inputs=num_given * (2 if reads_both else 1),
            outputs=num_given if is_removed else _outputs(model, name),
            then=_then(model, name),
            kernel=kernel,
            stride=stride,
            padding=padding,
            map_size=map_size.get(name, size3) if is_conv else 1,
            pooled_size=pooled_size.get(name),
            reads_both=reads_both,
        )
        table.append(layer)
        num_given = layer.num_given
    return tuple(table)


def scaled(outputs: int, width: float) -> int:
    """Return the outputs of one tower at a width."""
    return round(outputs * width)


def _names(model: ModelSpec) -> tuple[LayerName, ...]:
    absent = None if model.sixth_conv else "conv6"
    return tuple(name for name in get_args(LayerName) if name != absent)


def _outputs(model: ModelSpec, name: LayerName) -> int:
    if name == "fc8":
        return model.num_classes
    outputs = _OUTPUTS[name]
    if model.towers == 1:
        outputs = _OUTPUTS_OF_ONE_TOWER.get(name, outputs)
    elif not model.column_communication:
        outputs = _OUTPUTS_APART.get(name, outputs)
    return scaled(outputs, model.width)


def _readers_of_both(model: ModelSpec) -> tuple[LayerName, ...]:
    if model.towers == 1:
        return ()
    if not model.column_communication:
        return ("fc8",)
    # The towers meet behind pool2, whichever layer reads it.
    reader_of_pool2: LayerName = "conv4" if model.removed_layer == "conv3" else "conv3"
    return (reader_of_pool2, "conv6", "fc6", "fc7", "fc8")


def _then(model: ModelSpec, name: LayerName) -> tuple[Operation, ...]:
    """Return what follows: section 3.5, or `layers-145.cfg` of the 2012 source."""
    source2012 = model.recipe == "source2012"
    then: list[Operation] = []
    if name not in (model.removed_layer, "fc8"):
        then.append("activation")
    if model.lrn and name in ("conv1", "conv2"):
        then.append("lrn")
    if model.lrn and name == "conv2" and source2012:
        then.append("within_map_norm")
    if name in ("conv1", "conv2", "conv5"):
        then.append("pool")
    if name == "conv1" and source2012:
        then = [*then[1:], "activation"]
    if name == ("conv6" if model.sixth_conv else "conv5"):
        then.append("flatten")
    if model.dropout and name in ("fc6", "fc7"):
        then.append("dropout")
    return tuple(then)
