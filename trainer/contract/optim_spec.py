"""The part of a spec that says how weights are updated (paper section 5)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.contract.model import Record
from trainer.contract.spec_error import SpecError


class PlateauSchedule(Record):
    """Divide the rate when validation top-1 error stops improving (paper section 5)."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(
        default=0.1, gt=0, lt=1, description="What a drop multiplies the rate by."
    )
    patience_epochs: int = Field(
        default=5, ge=1, description="Epochs without improvement before a drop (assumed)."
    )
    max_drops: int = Field(default=3, ge=0, description="Section 5: three times.")


class StepSchedule(Record):
    """Divide the rate at the end of given epochs (the 2012 source: 23, 51, 78 for ILSVRC-2010)."""

    kind: Literal["steps"] = "steps"
    factor: float = Field(
        default=0.1, gt=0, lt=1, description="What a drop multiplies the rate by."
    )
    epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(23, 51, 78), description="Completed epochs after which the rate drops."
    )


class OptimSpec(Record):
    """The update rule (paper section 5) and its schedule."""

    global_batch_size: int = Field(default=128, ge=1, le=65_536, description="Section 5.")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Samples a replica computes at once; a divisor of its batch. None: all of it.",
    )
    learning_rate: float = Field(default=0.01, gt=0, le=100, description="Initial ε, section 5.")
    rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        default="none",
        description="How ε, taken as meant for the paper's batch of 128, grows with "
        "global_batch_size: linear as in Goyal et al. 2017 and Krizhevsky 2014.",
    )
    warmup_epochs: float = Field(
        default=0,
        ge=0,
        le=100,
        description="Over these ε rises evenly, step by step, from the unscaled to the scaled.",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Section 5.")
    weight_decay: float = Field(default=0.0005, ge=0, le=1, description="Section 5.")
    schedule: Annotated[PlateauSchedule | StepSchedule, Field(discriminator="kind")] = Field(
        default=PlateauSchedule(), description="When the rate drops."
    )
    epochs: int = Field(default=90, ge=1, le=10_000, description="Passes over the data, section 5.")
    max_steps: int | None = Field(
        default=None, ge=1, description="Stop after this many steps if that comes first."
    )

    @model_validator(mode="after")
    def _warms_up_to_something(self) -> Self:
        if self.warmup_epochs and self.rate_scaling == "none":
            raise SpecError(
                "optim.warmup_epochs",
                "without rate_scaling there is no higher rate to rise to; set "
                "optim.rate_scaling = linear",
            )
        return self
