"""The sample ledger: which samples each step trained; proof that none was missed or repeated."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import field_validator

from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from trainer.contract.durable import naming_a_full_disk, sync_folder
from trainer.contract.lineage import spans
from trainer.contract.model import Record
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


class Skipped(Record):
    """A sample that could not be read, and so weighed zero."""

    name: str
    """SHARD:KEY."""
    sample: int | None = None
    """Its number; None in ledgers of release 0.1, which have the name alone."""
    reason: CorruptReason | None = None
    """None in the same."""


class Line(Record):
    """One step of one replica."""

    step: int
    epoch: int
    loss: float
    """Mean over the samples of all replicas."""
    samples: tuple[int, ...]
    """Trained by this replica."""
    keys: tuple[str, ...] | None = None
    """SHARD:KEY of each of `samples`, where data.record_sample_keys asks for them."""
    skipped: tuple[Skipped, ...] = ()
    """Those it could not read."""

    @field_validator("skipped", mode="before")
    @classmethod
    def _names_alone(cls, skipped: Any) -> Any:
        if not isinstance(skipped, list | tuple):
            return skipped
        return tuple({"name": each} if isinstance(each, str) else each for each in skipped)


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
        self,
        *,
        step: int,
        epoch: int,
        loss: float,
        samples: Iterable[int],
        corrupt: Iterable[CorruptSample],
        keys: Iterable[str] | None = None,
    ) -> None:
        """Enter a step that is done."""
        line = Line(
            step=step,
            epoch=epoch,
            loss=loss,
            samples=tuple(samples),
            keys=None if keys is None else tuple(keys),
            skipped=tuple(
                Skipped(name=sample.name, sample=sample.sample, reason=sample.reason)
                for sample in corrupt
            ),
        )
        with naming_a_full_disk(self._path):
            self._file.write(line.model_dump_json(exclude_none=True) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Force to disk what was entered, before a checkpoint counts on it."""
        with naming_a_full_disk(self._path):
            os.fsync(self._file.fileno())


@dataclass(frozen=True)
class LedgerCounts:
    """How much the lineage as a whole presented to the network."""

    samples_presented: int
    """Over all epochs."""
    samples_skipped: int
    """Times that a sample could not be read, over all epochs."""
    skipped_by_reason: dict[CorruptReason, int]
    """The same; without those of which the ledger has no reason."""
    steps_redone: int
    """Steps trained whose weights were lost before a checkpoint held them."""


def count_committed(run: Path) -> LedgerCounts:
    """Count what the ledgers of all attempts hold, an entry at a time."""
    samples_presented = samples_skipped = steps_redone = 0
    reasons: Counter[CorruptReason] = Counter()
    for entry in entries(run):
        if entry.counts:
            samples_presented += len(entry.line.samples)
            samples_skipped += len(entry.line.skipped)
            reasons.update(each.reason for each in entry.line.skipped if each.reason)
        elif entry.rank == 0:
            steps_redone += 1
    return LedgerCounts(
        samples_presented=samples_presented,
        samples_skipped=samples_skipped,
        skipped_by_reason=dict(reasons),
        steps_redone=steps_redone,
    )


@dataclass(frozen=True)
class Entry:
    """What one replica did in one step of one attempt."""

    rank: int
    line: Line
    counts: bool
    """Whether the lineage stands on it: no later attempt began at or before its step."""


def entries(run: Path) -> Iterator[Entry]:
    """Yield what the ledgers of all attempts hold, in no order of steps.

    No two spans cover one step, and a replica enters a step once: of each step and rank, one entry
    counts.
    """
    for span in spans(RunDirectory(run)):
        for rank, file in _files(span.attempt):
            for line in _lines(file):
                yield Entry(rank, line, counts=span.covers(line.step))


def _files(attempt: AttemptDirectory) -> list[tuple[int, Path]]:
    """Return (rank, file) of each replica's ledger."""
    files = attempt.path.glob("ledger-*.jsonl")
    return [(int(file.stem.removeprefix("ledger-")), file) for file in files]


def _lines(file: Path) -> Iterator[Line]:
    # Bytes, since other characters that end a line in str may stand in a sample's name.
    with file.open("rb") as content:
        for line in content:
            # What has no newline was cut short when the process died: the step was not done.
            if line.endswith(b"\n"):
                yield Line.model_validate_json(line)
