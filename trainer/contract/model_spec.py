"""The part of a spec that says what network it is (paper section 3), and its ablations."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.contract.geometry import NARROWEST_LAYER, map_sizes
from trainer.contract.model import Record
from trainer.contract.spec_error import SpecError

Recipe = Literal["paper", "source2012"]
LayerName = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7", "fc8"]

# Assumed: more than any set of images has.
MAX_NUM_CLASSES = 100_000


class ModelSpec(Record):
    """The two-tower network and its ablations (paper section 3)."""

    recipe: Recipe = Field(
        default="paper",
        description="Whose word is followed where they differ. source2012: in layer 1 LRN and pool "
        "before the activation, a second norm within each map in layer 2, LRN's α divided by 5, "
        "std .03 in conv3 to conv5, biases at twice the rate without decay, colour shifts of α "
        "standard deviations, training input divided by 1 + augment.colour_strength, one crop and "
        "mirror for 32 consecutive images, and the centre of the mean image under every crop. Its "
        "drops of the rate are optim.schedule = steps.",
    )
    num_classes: int = Field(default=1000, ge=2, le=MAX_NUM_CLASSES, description="Outputs of fc8.")
    width: float = Field(
        default=1.0,
        gt=0,
        le=4.0,
        description="Factor on every hidden channel count; 1 is the paper's 96-256-384-384-256.",
    )
    input_size: int = Field(
        default=224, ge=8, le=512, description="Edge of the square crop, in pixels (section 4.1)."
    )
    towers: Literal[1, 2] = Field(
        default=2,
        description="1: the one-GPU net that section 3.2 compares with: one column with half the "
        "kernels in conv1 to conv4, but all of them in conv5 and all units in fc6 and fc7.",
    )
    column_communication: bool = Field(
        default=True,
        description="Off: net #150 of the 2012 source, whose towers meet at fc8 only and have 160 "
        "kernels in conv2 and 4096 units in fc6 each.",
    )
    removed_layer: Literal["conv2", "conv3", "conv4", "conv5"] | None = Field(
        default=None,
        description="Section 7: leave a convolution and its activation out; the norm and the pool "
        "behind it stay, so that the maps keep their sizes.",
    )
    sixth_conv: bool = Field(
        default=False,
        description="CNN* of section 6.1: conv6 over the last pool, reading both towers (net #146 "
        "of the 2012 source).",
    )
    activation: Literal["relu", "tanh"] = Field(default="relu", description="Section 3.1.")
    lrn: bool = Field(default=True, description="Local response normalisation (section 3.3).")
    overlapping_pool: bool = Field(
        default=True, description="Pools of 3 with stride 2, else 2 with stride 2 (section 3.4)."
    )
    dropout: bool = Field(default=True, description="Dropout after fc6 and fc7 (section 4.2).")
    inverted_dropout: bool = Field(
        default=False,
        description="Double what is kept in training instead of halving all at test; in neither "
        "recipe.",
    )
    init: Literal["recipe", "paper", "source2012", "variance_preserving"] = Field(
        default="recipe",
        description="The recipe's Gaussians, one of the two recipes' whatever else is followed, or "
        "He's variance-preserving ones for narrow nets. Measured at full size (docs/LOG.md): on "
        "CIFAR-10 the paper's, std .01 everywhere, leave the first plateau after 70 steps, the "
        "2012 source's, .03 in conv3 to conv5, after 40 to 50 and stay ahead.",
    )

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        # Channels are rounded, a half to the even.
        if NARROWEST_LAYER * self.width <= 0.5:
            raise SpecError(
                "model.width",
                f"{self.width} leaves conv1 no channel: of {NARROWEST_LAYER} a tower it makes "
                f"{NARROWEST_LAYER * self.width:.2g}; "
                f"use {math.ceil(500 / NARROWEST_LAYER) / 1000} or more",
            )
        if min(map_sizes(self.input_size)) < 1:
            smallest = next(size for size in range(1, 512) if min(map_sizes(size)) >= 1)
            sizes = ", ".join(map(str, map_sizes(self.input_size)))
            raise SpecError(
                "model.input_size",
                f"{self.input_size} pixels are too small for the pools: the maps would have "
                f"edges of {sizes}; use {smallest} or more",
            )
        if self.towers == 1 and not self.column_communication:
            raise SpecError(
                "model.column_communication",
                "one tower has no other to be cut off from; set model.towers = 2",
            )
        if self.inverted_dropout and not self.dropout:
            raise SpecError(
                "model.inverted_dropout",
                "there is no dropout to invert; set model.dropout, or leave this out",
            )
        return self
