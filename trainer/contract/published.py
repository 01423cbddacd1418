"""What others have measured: the paper's results, the reproductions', the ablations'. Pure data.

Errors and their differences are shares, not per cent. "The paper" is Krizhevsky, Sutskever and
Hinton, NIPS 2012.
"""

from typing import Literal

from pydantic import Field

from trainer.contract.events import Ratio
from trainer.contract.model import Record
from trainer.contract.spec import JobSpec, Protocol

# The set that Table 2 compares on; our validation split is compared with its rows alone.
COMPARED_SET = "ILSVRC-2012 validation"


class ComparedResult(Record):
    """One row: which networks, tested how, on what, with which errors, according to whom."""

    network: str = Field(description="As its source names it; CNN* has a sixth convolution.")
    num_networks: int = Field(ge=1, description="Whose softmaxes were averaged.")
    protocol: Protocol
    measured_on: str
    top1_error: Ratio | None
    top5_error: Ratio | None
    source: str


class PublishedAblation(Record):
    """What one change to the paper's network, or its training, adds to the error."""

    change: str
    precision: Literal["measured", "about", "more than"] = "measured"
    top1_difference: float = Field(description="Added to the top-1 error.")
    top5_difference: float | None = Field(description="Added to the top-5 error; None: not told.")
    source: str


_TABLE_2 = "the paper, Table 2"
_SECTION_6 = "the paper, section 6"
_VALIDATION, _TEST = COMPARED_SET, "ILSVRC-2012 test"
_OF_2010 = "ILSVRC-2010 test"


def _row(
    network: str,
    protocol: Protocol,
    measured_on: str,
    errors: tuple[float | None, float | None],
    source: str,
    *,
    num_networks: int = 1,
) -> ComparedResult:
    return ComparedResult(
        network=network,
        num_networks=num_networks,
        protocol=protocol,
        measured_on=measured_on,
        top1_error=errors[0],
        top5_error=errors[1],
        source=source,
    )


RESULTS: tuple[ComparedResult, ...] = (
    _row("1 CNN", "ten_view", _VALIDATION, (0.407, 0.182), _TABLE_2),
    _row("5 CNNs", "ten_view", _VALIDATION, (0.381, 0.164), _TABLE_2, num_networks=5),
    _row("1 CNN*", "ten_view", _VALIDATION, (0.390, 0.166), _TABLE_2),
    _row("7 CNNs*", "ten_view", _VALIDATION, (0.367, 0.154), _TABLE_2, num_networks=7),
    _row("Caffe's AlexNet", "centre_crop", _VALIDATION, (0.429, 0.198), "Caffe's model zoo"),
    _row("cuda-convnet2, 1 GPU", "centre_crop", _VALIDATION, (0.426, 0.198), "cuda-convnet2"),
    _row("cuda-convnet2, 1 GPU", "ten_view", _VALIDATION, (0.404, 0.182), "cuda-convnet2"),
    # Another network by the same name: that of "One weird trick", Krizhevsky 2014.
    _row("torchvision's alexnet", "centre_crop", _VALIDATION, (0.435, 0.209), "torchvision"),
    _row("5 CNNs", "ten_view", _TEST, (None, 0.164), _TABLE_2, num_networks=5),
    _row("7 CNNs*", "ten_view", _TEST, (None, 0.153), _TABLE_2, num_networks=7),
    _row("CNN", "ten_view", _OF_2010, (0.375, 0.170), "the paper, Table 1"),
    _row("CNN", "centre_crop", _OF_2010, (0.390, 0.183), "the paper, section 4.1"),
    _row("CNN*", "ten_view", "ImageNet Fall 2009 test", (0.674, 0.409), _SECTION_6),
)

ONE_TOWER = PublishedAblation(
    change="one tower",
    top1_difference=0.017,
    top5_difference=0.012,
    source="the paper, section 3.2",
)
NO_LRN = PublishedAblation(
    change="no LRN", top1_difference=0.014, top5_difference=0.012, source="the paper, section 3.3"
)
NO_OVERLAP = PublishedAblation(
    change="pools that do not overlap",
    top1_difference=0.004,
    top5_difference=0.003,
    source="the paper, section 3.4",
)
NO_COLOUR = PublishedAblation(
    change="no PCA colour",
    precision="more than",
    top1_difference=0.01,
    top5_difference=None,
    source="the paper, section 4.1",
)
NO_MIDDLE_LAYER = PublishedAblation(
    change="a middle convolution removed",
    precision="about",
    top1_difference=0.02,
    top5_difference=None,
    source="the paper, section 7",
)
NO_COMMUNICATION = PublishedAblation(
    change="no communication between columns",
    # 41.83 and 19.33 per cent against 40.66 and 18.21.
    top1_difference=0.0117,
    top5_difference=0.0112,
    source="the 2012 source, net #150 against #145",
)


def compared() -> tuple[ComparedResult, ...]:
    """Return the rows that a validation result stands beside."""
    return tuple(row for row in RESULTS if row.measured_on == COMPARED_SET)


def results_like(spec: JobSpec) -> tuple[ComparedResult, ...]:
    """Return the rows of one network like a spec's."""
    names = {"1 CNN*"} if spec.model.sixth_conv else {"1 CNN", "Caffe's AlexNet"}
    return tuple(row for row in compared() if row.network in names)


def ablations_of(spec: JobSpec) -> tuple[PublishedAblation, ...]:
    """Return what is published of each change that a spec makes."""
    model = spec.model
    made = (
        (model.towers == 1, ONE_TOWER),
        (not model.lrn, NO_LRN),
        (not model.overlapping_pool, NO_OVERLAP),
        (spec.augment.colour_strength == 0, NO_COLOUR),
        (model.removed_layer is not None, NO_MIDDLE_LAYER),
        (not model.column_communication, NO_COMMUNICATION),
    )
    return tuple(ablation for is_made, ablation in made if is_made)
