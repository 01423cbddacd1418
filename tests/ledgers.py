"""What the lineage of a run presented to the network, sample by sample."""

from dataclasses import dataclass
from pathlib import Path

from trainer.attempt.ledger import Line, entries


@dataclass(frozen=True)
class Presented:
    epochs: dict[int, list[int]]
    """The samples presented in each epoch, in order of step and rank."""
    skipped: dict[int, list[str]]
    """The samples of each epoch that could not be read, SHARD:KEY."""
    steps_done: int
    """Distinct steps that count."""
    steps_redone: int
    """Steps trained whose weights were lost before a checkpoint held them."""


def presented(run: Path) -> Presented:
    """Return what the ledgers of all attempts hold that counts; fail if a step counts twice."""
    # (step, rank) -> line
    counted: dict[tuple[int, int], Line] = {}
    num_trained = 0
    for entry in entries(run):
        num_trained += entry.rank == 0
        if entry.counts:
            place = (entry.line.step, entry.rank)
            assert place not in counted, f"(step, rank) {place} counts twice"
            counted[place] = entry.line
    epochs: dict[int, list[int]] = {}
    skipped: dict[int, list[str]] = {}
    for _, line in sorted(counted.items()):
        epochs.setdefault(line.epoch, []).extend(line.samples)
        if line.skipped:
            names = [each.name for each in line.skipped]
            skipped.setdefault(line.epoch, []).extend(names)
    steps_done = len({step for step, _ in counted})
    return Presented(epochs, skipped, steps_done, num_trained - steps_done)
