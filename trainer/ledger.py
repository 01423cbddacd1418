"""The sample ledger: which samples each step trained; proof that none was missed or repeated."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from trainer.contract.lineage import spans
from trainer.contract.model import Record
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


class _Line(Record):
    """One step of one replica."""

    step: int
    epoch: int
    loss: float
    """Mean over the samples of all replicas."""
    samples: tuple[int, ...]
    """Trained by this replica."""
    skipped: tuple[str, ...] = ()
    """SHARD:KEY of those it could not read, which weighed zero."""


class Ledger:
    """One replica's ledger of one attempt: a JSON line a step, flushed when the step is done."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(
        self, *, step: int, epoch: int, loss: float, samples: Iterable[int], skipped: Iterable[str]
    ) -> None:
        """Enter a step that is done."""
        line = _Line(
            step=step, epoch=epoch, loss=loss, samples=tuple(samples), skipped=tuple(skipped)
        )
        self._file.write(line.model_dump_json() + "\n")
        self._file.flush()


@dataclass(frozen=True)
class CommittedLedger:
    """What the lineage as a whole presented to the network."""

    epochs: dict[int, list[int]]
    """The samples presented in each epoch, in order of step and rank."""
    skipped: dict[int, list[str]]
    """The samples of each epoch that could not be read, SHARD:KEY."""
    steps_done: int
    """Distinct steps that count."""
    steps_redone: int
    """Steps trained whose weights were lost before a checkpoint held them."""


def committed_ledger(run: Path) -> CommittedLedger:
    """Read the ledgers of all attempts of a run, each for the steps it stands for."""
    # (step, rank) -> line
    counted: dict[tuple[int, int], _Line] = {}
    num_trained = 0
    for span in spans(RunDirectory(run)):
        for rank, file in _files(span.attempt):
            lines = _lines(file)
            num_trained += len(lines) if rank == 0 else 0
            counted |= {(line.step, rank): line for line in lines if span.covers(line.step)}
    epochs: dict[int, list[int]] = {}
    skipped: dict[int, list[str]] = {}
    for _, line in sorted(counted.items()):
        epochs.setdefault(line.epoch, []).extend(line.samples)
        if line.skipped:
            skipped.setdefault(line.epoch, []).extend(line.skipped)
    steps_done = len({step for step, _ in counted})
    return CommittedLedger(
        epochs=epochs,
        skipped=skipped,
        steps_done=steps_done,
        steps_redone=num_trained - steps_done,
    )


def _files(attempt: AttemptDirectory) -> list[tuple[int, Path]]:
    """Return (rank, file) of each replica's ledger."""
    files = attempt.path.glob("ledger-*.jsonl")
    return [(int(file.stem.removeprefix("ledger-")), file) for file in files]


def _lines(file: Path) -> list[_Line]:
    # What follows the last newline was cut short when the process died: the step was not done.
    # Bytes, since other characters that end a line in str may stand in a sample's name.
    whole = file.read_bytes().rpartition(b"\n")[0]
    return [_Line.model_validate_json(line) for line in whole.splitlines()]
