"""The layers of the two-tower network as a table: channels, sizes, what crosses (paper section 3).

Pure arithmetic on a ModelSpec; the network is built from it and `describe` prints it.
"""

from dataclasses import dataclass
from typing import Literal

from trainer.contract.geometry import NARROWEST_LAYER, map_sizes
from trainer.contract.spec import ModelSpec

# Outputs of each tower at width 1 (Fig. 2).
_CONV_OUTPUTS = (NARROWEST_LAYER, 128, 192, 192, 128)
_HIDDEN_UNITS = 2048


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with weights, as each of its towers sees it."""

    name: str
    kind: Literal["conv", "linear"]
    num_towers: int
    """2; 1 for fc8, which lies whole on the first tower's device."""
    inputs: int
    """Channels or features that one tower's part reads."""
    outputs: int
    """Channels or features that one tower's part gives."""
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
    def num_parameters(self) -> int:
        """Weights and biases, all towers."""
        return self.num_towers * self.outputs * (self.inputs * self.kernel**2 + 1)

    @property
    def num_multiply_adds(self) -> int:
        """Of a forward pass, per image, all towers."""
        per_position = self.outputs * self.inputs * self.kernel**2
        return self.num_towers * per_position * self.map_size**2

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
    c1, c2, c3, c4, c5 = (scaled(outputs, model.width) for outputs in _CONV_OUTPUTS)
    hidden = scaled(_HIDDEN_UNITS, model.width)
    size1, size2, size3, size5 = map_sizes(model.input_size)
    return (
        _conv("conv1", 3, c1, kernel=11, stride=4, map_size=size1, pooled_size=size2),
        _conv("conv2", c1, c2, kernel=5, padding=2, map_size=size2, pooled_size=size3),
        _conv("conv3", 2 * c2, c3, kernel=3, padding=1, map_size=size3, reads_both=True),
        _conv("conv4", c3, c4, kernel=3, padding=1, map_size=size3),
        _conv("conv5", c4, c5, kernel=3, padding=1, map_size=size3, pooled_size=size5),
        _linear("fc6", 2 * c5 * size5**2, hidden),
        _linear("fc7", 2 * hidden, hidden),
        _linear("fc8", 2 * hidden, model.num_classes, num_towers=1),
    )


def scaled(outputs: int, width: float) -> int:
    """Return the outputs of one tower at a width; the two towers' total is always even."""
    return round(outputs * width)


def _conv(
    name: str,
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    map_size: int,
    stride: int = 1,
    padding: int = 0,
    pooled_size: int | None = None,
    reads_both: bool = False,
) -> Layer:
    return Layer(
        name=name,
        kind="conv",
        num_towers=2,
        inputs=inputs,
        outputs=outputs,
        kernel=kernel,
        stride=stride,
        padding=padding,
        map_size=map_size,
        pooled_size=pooled_size,
        reads_both=reads_both,
    )


def _linear(name: str, inputs: int, outputs: int, *, num_towers: int = 2) -> Layer:
    return Layer(
        name=name,
        kind="linear",
        num_towers=num_towers,
        inputs=inputs,
        outputs=outputs,
        reads_both=True,
    )
