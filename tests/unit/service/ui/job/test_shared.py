"""What the streams of one job share."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest

from service.access.caller import EVERYONE, Caller, Role
from service.jobs.records import JobRecord
from service.store.errors import JobNotFoundError
from service.ui.job.facts import Pulse
from service.ui.job.shared import SLOW_EVERY_S, Overview, SharedJob, Snapshot
from tests.unit.service.conftest import progress
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.status import Status

ANN, BOB = (Caller(owner=name, role=Role.VIEWER) for name in ("ann", "bob"))


class Source:
    """A job that a test changes, and how often it is read."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.job: JobRecord = replace(job_record(), owner="ann")
        self.newest = 1
        self.read: list[str] = []
        self.begun, self.goes_on = Event(), Event()
        self.goes_on.set()
        self.shared = SharedJob(
            pulse=self._read_pulse, overview=self._read_overview, clock=lambda: self.now_s
        )

    def _read_pulse(self) -> Pulse:
        self.read.append("pulse")
        return self.job, self.newest

    def _read_overview(self) -> Overview:
        self.read.append("overview")
        self.begun.set()
        assert self.goes_on.wait(60)
        # What it holds is nothing to what shares it.
        return Overview(state=None, found=None, charts=())  # type: ignore[arg-type]

    def step(self, number: int) -> None:
        self.job = replace(self.job, progress=progress(number))

    def look(self, caller: Caller = EVERYONE) -> Snapshot:
        return self.shared.snapshot(caller, self.shared.pulse(caller))

    def while_read(self, act: Callable[[], None]) -> None:
        """Act while another thread reads the overview."""
        self.begun.clear()
        self.goes_on.clear()
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(self.look)
            try:
                assert self.begun.wait(60)
                act()
            finally:
                self.goes_on.set()
            reading.result()


def test_many_viewers_cost_one_read() -> None:
    source = Source()
    snapshots = {id(source.look(caller)) for caller in (ANN, BOB, EVERYONE) for _ in range(3)}
    assert (len(snapshots), source.read) == (1, ["pulse", "overview"])


def test_of_a_job_that_goes_on_it_is_read_every_few_seconds() -> None:
    source = Source()
    for second in range(20):
        source.step(second)
        for caller in (ANN, BOB):
            source.look(caller)
        source.now_s += 1
    assert source.read.count("pulse") == 20
    assert source.read.count("overview") == 20 // SLOW_EVERY_S


def test_while_nothing_happens_nothing_is_read() -> None:
    source = Source()
    first = source.look()
    source.now_s += 60
    assert source.look() is first
    assert source.read.count("overview") == 1


def test_the_end_is_read_at_once() -> None:
    source = Source()
    first = source.look()
    source.job = replace(source.job, status=Status.CANCELLED)
    source.now_s += 1
    last = source.look()
    assert last is not first
    assert last.pulse[0].status is Status.CANCELLED
    assert source.look() is last


def test_a_viewer_is_told_of_what_they_may_see_though_others_read_it() -> None:
    source = Source()
    source.job = replace(source.job, private=True)
    pulse = source.shared.pulse(ANN)
    source.look(ANN)
    with pytest.raises(JobNotFoundError):
        source.shared.pulse(BOB)
    with pytest.raises(JobNotFoundError):
        source.shared.snapshot(BOB, pulse)


def test_who_comes_while_another_reads_has_what_was_read_before() -> None:
    source = Source()
    first = source.look()
    source.step(1)
    source.now_s += SLOW_EVERY_S
    got: list[Snapshot] = []
    source.while_read(lambda: got.append(source.look()))
    assert got == [first]
    assert source.look() is not first
