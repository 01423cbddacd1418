"""The lineage of a run: which steps each attempt stands for."""

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.contract.attempt import AttemptOrder
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@dataclass(frozen=True)
class Span:
    """The steps of one attempt that count: [start, stop), with no stop for the last attempt."""

    attempt: AttemptDirectory
    start: int
    stop: int | None

    def covers(self, step: int) -> bool:
        """Say whether what this attempt did in `step` counts."""
        return self.start <= step and (self.stop is None or step < self.stop)


def spans(run: RunDirectory, attempts: Iterable[int] | None = None) -> list[Span]:
    """Return the spans of the attempts, in order; None: of all that have a folder.

    A step that was trained again counts for the attempt that trained it last.
    """
    numbers = range(1, run.newest_attempt() + 1) if attempts is None else sorted(attempts)
    folders = [folder for folder in map(run.attempt, numbers) if folder.order.is_file()]
    starts = [_start_step(folder) for folder in folders]
    return [
        Span(folder, start, min(starts[place + 1 :], default=None))
        for place, (folder, start) in enumerate(zip(folders, starts, strict=True))
    ]


def _start_step(folder: AttemptDirectory) -> int:
    order = AttemptOrder.model_validate_json(folder.order.read_bytes())
    return 0 if order.resume_from is None else step_of(order.resume_from)


def step_of(checkpoint: str) -> int:
    """Return the step in a checkpoint folder's name, attempts/N/checkpoints/step-XXXXXXXX."""
    return int(checkpoint.rpartition("/step-")[2])
