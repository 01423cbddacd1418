"""Faults that are seen through, and what was found to be wrong after each."""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

INVARIANTS = {
    "J": "each job reaches one terminal state, and has one attempt that can commit",
    "W": "the final weights are the undisturbed run's",
    "S": "the sample ledger is exact",
    "C": "the latest checkpoint is whole",
    "F": "an attempt that is no longer current is refused",
    "Q": "processes, devices, memory and disk space are freed",
    "A": "an attack is refused, and costs little",
}

SEED = 20121203
TRIALS_VARIABLE = "TRIALS"


def seeds(row: str, *, short: int = 1) -> list[int]:
    """Return a seed for each trial of a row: `short` of them, or as many as TRIALS says.

    They are the same in every run, and those of a short run are the first of a long one's.
    """
    draw = random.Random(f"{SEED} {row}")
    number = int(os.environ.get(TRIALS_VARIABLE, short))
    return [draw.randrange(2**31) for _ in range(number)]


@dataclass
class Trial:
    """One fault, from its beginning to where nothing of it is left."""

    row: str
    """The row of the table of faults, or "attack"."""
    fault: str
    seed: int | None = None
    unguarded: bool = False
    """Whether what guards against the fault was turned off: violations are then wanted."""
    violations: list[str] = field(default_factory=list)
    detect_s: float | None = None
    """From the fault until the product told of it; None: there is nothing to tell."""
    recover_s: float | None = None
    """From the fault until work went on."""
    steps_redone: int | None = None
    _struck_at: float | None = field(default=None, repr=False)

    def strike(self) -> None:
        """Note that the fault happens now."""
        self._struck_at = time.monotonic()

    def detected(self) -> None:
        """Note that the product has told of the fault."""
        self.detect_s = self._since_strike()

    def recovered(self) -> None:
        """Note that the work goes on: a step is trained, a request is answered."""
        self.recover_s = self._since_strike()

    def must(self, holds: object, invariant: str, otherwise: str) -> None:
        """Note a violation of an invariant unless it holds."""
        assert invariant in INVARIANTS, f"{invariant} is none of {', '.join(INVARIANTS)}"
        if not holds:
            self.violations.append(f"{invariant}: {otherwise}")

    def _since_strike(self) -> float:
        assert self._struck_at is not None, "strike first"
        return time.monotonic() - self._struck_at


class Trials:
    """All trials of a run of the tests, those included that ended with an error."""

    def __init__(self) -> None:
        self.all: list[Trial] = []
        """As they ended."""
        self._num_given = 0

    def give(self) -> str:
        """Return as text those that ended since the last call."""
        new = self.all[self._num_given :]
        self._num_given += len(new)
        return json.dumps([asdict(trial) for trial in new])

    def take(self, given: str) -> None:
        """Add what another has given."""
        self.all += [Trial(**trial) for trial in json.loads(given)]

    @contextmanager
    def trial(self, row: str, fault: str, *, seed: int | None = None) -> Iterator[Trial]:
        """See a fault through; fail if an invariant was violated.

        Raises:
            AssertionError: with every violation.
        """
        trial = Trial(row, fault, seed)
        yield from self._seen_through(trial)
        assert not trial.violations, "\n".join([f"{fault}, seed {seed}:", *trial.violations])

    @contextmanager
    def unguarded(self, row: str, fault: str, *, seed: int | None = None) -> Iterator[Trial]:
        """See a fault through without what guards against it; fail if no violation is noticed.

        Raises:
            AssertionError: the trial of this fault notices nothing, and so shows nothing.
        """
        trial = Trial(row, fault, seed, unguarded=True)
        yield from self._seen_through(trial)
        assert trial.violations, f"{fault}: unguarded, and no violation was noticed"

    def _seen_through(self, trial: Trial) -> Iterator[Trial]:
        try:
            yield trial
        except BaseException as error:
            trial.violations.append(f"J: not seen through: {type(error).__name__}: {error}")
            raise
        finally:
            self.all.append(trial)
