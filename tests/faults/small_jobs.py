"""A job that takes seconds, and what must hold of it when it is over, whatever struck it."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import select

from service.jobs.events import Resized, StatusChanged
from service.reconciling.attempt_files import read_spool
from service.store.store import Store
from service.store.tables import points
from tests.faults.trials import Trial
from tests.integration.trainer.conftest import (
    EPOCHS,
    NUM_TRAINING_IMAGES,
    Shards,
    final_weights,
    train,
    write_job,
)
from tests.ledgers import presented
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.events import AttemptEvent, AttemptEventData, Progress
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import TERMINAL

INTERVAL_STEPS = 10
# Between the time that an event gets and its line in the file.
_LAST_WRITES = timedelta(seconds=1)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have other processes of these tests wait that want the folder."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class SmallJobs:
    """The job, and the weights it comes to where nothing happens."""

    def __init__(self, folder: Path, shards: Shards, *, epochs: int = EPOCHS, **over: Any) -> None:
        """`over`: fields of the job in place of its own; such as the batch and number of epochs."""
        self._folder = folder
        self._epochs = epochs
        self.data_root = folder
        self._job = write_job(folder, shards, **over)

    def request(self, **over: Any) -> dict[str, Any]:
        """Return what to submit: 104 steps, a checkpoint every 10."""
        retry = {"backoff_s": 0.5, "max_backoff_s": 2.0}
        return {**json.loads(self._job.read_text()), "retry": retry, **over}

    @cached_property
    def undisturbed_run(self) -> Path:
        """The folder of a run that nothing happened to."""
        run = self._folder / "undisturbed"
        with alone_in(self._folder):
            if not RunDirectory(run).report.exists():
                done = train(self._job, run)
                assert done.returncode == 0, done.stderr
        return run

    @cached_property
    def undisturbed(self) -> str:
        """Digest of its final weights."""
        return final_weights(self.undisturbed_run)

    def check(self, trial: Trial, job_id: str, run: Path, store_url: str) -> None:
        """Note what is wrong with a job that has succeeded: J, W, S and C, each event told once."""
        latest = latest_checkpoint(RunDirectory(run))
        assert latest.checkpoint is not None
        weights = latest.checkpoint.manifest.files["model.safetensors"].sha256
        trial.must(weights == self.undisturbed, "W", f"the weights are {weights}")
        ledger = presented(run)
        for epoch in range(self._epochs):
            exact = Counter(ledger.epochs.get(epoch, ())) == Counter(range(NUM_TRAINING_IMAGES))
            trial.must(exact, "S", f"epoch {epoch} is not each sample once")
        report = json.loads(RunDirectory(run).report.read_text())
        told = report["weights_sha256"], report["steps_redone"]
        trial.must(told == (weights, ledger.steps_redone), "S", f"its report tells of {told}")
        trial.steps_redone = (trial.steps_redone or 0) + ledger.steps_redone
        self._check_told(trial, job_id, run, store_url)

    def _check_told(self, trial: Trial, job_id: str, run: Path, store_url: str) -> None:
        store = Store(store_url)
        try:
            attempts = store.attempts(job_id)
            told = store.events(job_id, limit=100_000)
            query = select(points.c.attempt, points.c.step).where(points.c.job_id == job_id)
            found = set(store.read(lambda c: [tuple(row) for row in c.execute(query)]))
        finally:
            store.close()
        numbers = [one.number for one in told]
        trial.must(numbers == list(range(1, len(told) + 1)), "J", f"events are {numbers}")
        ends = [
            one.data.after
            for one in told
            if isinstance(one.data, StatusChanged) and one.data.after in TERMINAL
        ]
        trial.must(len(ends) == 1, "J", f"it has ended as {ends}")
        for attempt in attempts:
            trial.must(attempt.ended_at, "J", f"attempt {attempt.number} has not ended")
            if attempt.ended_at is None:
                continue
            spooled = read_spool(RunDirectory(run).attempt(attempt.number))
            # Ray may call an attempt dead whose processes live a little longer, and still write:
            # what they wrote after its end is refused.
            before_end = [one for one in spooled if one.at < attempt.ended_at - _LAST_WRITES]
            said, due = _said(spooled), _said(before_end)
            heard = [
                one.data
                for one in told
                if one.attempt == attempt.number
                and not isinstance(one.data, StatusChanged | Resized)
            ]
            what = f"of attempt {attempt.number} {len(heard)} events are told, not {len(due)}"
            trial.must(heard == said[: len(heard)] and len(heard) >= len(due), "J", what)
            found_here = {step for number, step in found if number == attempt.number}
            steps, steps_due = _steps(spooled), _steps(before_end)
            what = f"of attempt {attempt.number} {len(found_here)} points, not {len(steps_due)}"
            trial.must(steps_due <= found_here <= steps, "J", what)


def _said(spooled: Sequence[AttemptEvent]) -> list[AttemptEventData]:
    return [one.data for one in spooled if not isinstance(one.data, Progress)]


def _steps(spooled: Sequence[AttemptEvent]) -> set[int]:
    return {one.data.step for one in spooled if isinstance(one.data, Progress)}
