"""The sample ledger: which samples each step trained; proof that none was missed or repeated."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from trainer.contract.durable import naming_a_full_disk, sync_folder
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
    """One replica's ledger of one attempt: a JSON line a step, flushed when the step is done.

    Whatever writes raises DiskFullError when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming_a_full_disk(path):
            self._file = path.open("a", encoding="utf-8")
        sync_folder(path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What a full disk did not take is tried again here.
        with naming_a_full_disk(self._path):
            self._file.close()

    def write(
        self, *, step: int, epoch: int, loss: float, samples: Iterable[int], skipped: Iterable[str]
    ) -> None:
        """Enter a step that is done."""
        line = _Line(
            step=step, epoch=epoch, loss=loss, samples=tuple(samples), skipped=tuple(skipped)
        )
        with naming_a_full_disk(self._path):
            self._file.write(line.model_dump_json() + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Force to disk what was entered, before a checkpoint counts on it."""
        with naming_a_full_disk(self._path):
            os.fsync(self._file.fileno())


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
    """Read the ledgers of all attempts of a run, each for the steps it stands for.

    Holds every sample of every epoch in memory; `count_committed` does not.
    """
    # (step, rank) -> line
    counted: dict[tuple[int, int], _Line] = {}
    num_trained = 0
    for span in spans(RunDirectory(run)):
        for rank, file in _files(span.attempt):
            for line in _lines(file):
                num_trained += rank == 0
                if span.covers(line.step):
                    counted[line.step, rank] = line
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


@dataclass(frozen=True)
class LedgerCounts:
    """How much the lineage as a whole presented to the network."""

    samples_presented: int
    """Over all epochs."""
    samples_skipped: int
    """Times that a sample could not be read, over all epochs."""
    steps_redone: int
    """Steps trained whose weights were lost before a checkpoint held them."""


def count_committed(run: Path) -> LedgerCounts:
    """Count what the ledgers of all attempts hold, a line at a time.

    No two spans cover one step, and a replica enters a step once: each line that counts, counts
    once.
    """
    samples_presented = samples_skipped = steps_redone = 0
    for span in spans(RunDirectory(run)):
        for rank, file in _files(span.attempt):
            for line in _lines(file):
                if span.covers(line.step):
                    samples_presented += len(line.samples)
                    samples_skipped += len(line.skipped)
                elif rank == 0:
                    steps_redone += 1
    return LedgerCounts(
        samples_presented=samples_presented,
        samples_skipped=samples_skipped,
        steps_redone=steps_redone,
    )


def _files(attempt: AttemptDirectory) -> list[tuple[int, Path]]:
    """Return (rank, file) of each replica's ledger."""
    files = attempt.path.glob("ledger-*.jsonl")
    return [(int(file.stem.removeprefix("ledger-")), file) for file in files]


def _lines(file: Path) -> Iterator[_Line]:
    # Bytes, since other characters that end a line in str may stand in a sample's name.
    with file.open("rb") as content:
        for line in content:
            # What has no newline was cut short when the process died: the step was not done.
            if line.endswith(b"\n"):
                yield _Line.model_validate_json(line)
