"""What all who compare jobs share."""

from dataclasses import replace

import pytest

from service.jobs.history import History
from service.jobs.records import JobRecord
from service.ui import compare_shared
from service.ui.compare_shared import LOOK_EVERY_S, Curves, SharedCurves
from tests.unit.service.conftest import progress
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.status import Status


class Source:
    """Jobs that a test changes, and which of them are read."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.read: list[str] = []
        self.curves = SharedCurves(self._read, clock=lambda: self.now_s)

    def _read(self, job: JobRecord) -> Curves:
        self.read.append(job.id)
        history = History(points=[], evaluations=[])
        return Curves(job=job, history=history, num_samples=None, report=None)


def at(step: int) -> JobRecord:
    return replace(job_record(), progress=progress(step))


def test_a_job_that_goes_on_is_read_every_few_seconds_whoever_looks() -> None:
    source = Source()
    for second in range(20):
        for _ in range(3):
            source.curves.of(at(second))
        source.now_s += 1
    assert len(source.read) == 20 / LOOK_EVERY_S


def test_what_is_shared_tells_of_what_it_is() -> None:
    source = Source()
    source.curves.of(at(1))
    assert source.curves.of(at(2)).job == at(1)
    source.now_s += LOOK_EVERY_S
    assert source.curves.of(at(2)).job == at(2)


def test_the_end_is_read_at_once_and_then_never_again() -> None:
    source = Source()
    source.curves.of(at(1))
    ended = replace(at(1), status=Status.CANCELLED)
    for _ in range(2):
        assert source.curves.of(ended).job == ended
        source.now_s += 3600
    assert len(source.read) == 2


def test_the_last_of_too_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_shared, "_MAX_JOBS", 2)
    source = Source()
    for job_id in ("a", "b", "a", "c", "a", "b"):
        source.curves.of(job_record(id=job_id))
    assert source.read == ["a", "b", "c", "b"]
