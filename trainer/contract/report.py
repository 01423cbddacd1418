"""report.json, what a run came to; written by the attempt that succeeds."""

from pydantic import Field

from trainer.contract.events import Ratio
from trainer.contract.model import Record


class Report(Record):
    """The result of a job and how it was reached."""

    job_id: str
    name: str
    attempts: int = Field(description="Attempts with a folder, this one included.")
    steps: int
    epochs: float
    top1: Ratio = Field(description="Of the last evaluation, centre crop.")
    top5: Ratio
    validation_loss: float = Field(description="Nats.")
    validation_samples: int
    images_per_second: float = Field(description="Mean of the last attempt's training.")
    seconds: float = Field(description="Of the last attempt, from its first step to here.")
    steps_redone: int = Field(description="Trained again because a checkpoint was older.")
    samples_presented: int = Field(description="By the ledger, over all epochs.")
    samples_skipped: int = Field(description="Unreadable, and so weighed zero.")
    checkpoints: tuple[str, ...] = Field(description="Kept, latest first, relative to the run.")
    weights_sha256: str = Field(description="Of the final model.safetensors.")
