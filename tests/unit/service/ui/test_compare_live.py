"""What has changed of jobs that are compared."""

from dataclasses import replace

from service.jobs.history import History
from service.jobs.records import JobRecord
from service.ui.compare_live import LiveCompare
from service.ui.compared import Compared
from service.ui.job.published import Published
from tests.unit.service.conftest import progress
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.events import Evaluated
from trainer.contract.status import Status


class Page:
    """Two jobs that a test changes, and what a page is told of them."""

    def __init__(self) -> None:
        self.jobs: list[JobRecord] = [job_record(id="left"), job_record(id="right")]
        self.evaluations: list[Evaluated] = []
        self.read: list[str] = []
        self.look = LiveCompare(jobs=lambda: self.jobs, read=self._read, charts=[])

    def _read(self, job: JobRecord) -> Compared:
        self.read.append(job.id)
        history = History(points=[], evaluations=self.evaluations)
        return Compared(job=job, history=history, published=Published())

    def told(self) -> list[tuple[str, str]]:
        return [(change.kind, change.target) for change in self.look().changes]


def measured(top1: float) -> Evaluated:
    return Evaluated(step=30, epoch=3, num_samples=9, loss=1.25, top1=top1, top5=0.8)


def test_the_first_look_sends_what_the_page_shows() -> None:
    assert Page().told() == [("fragment", "chosen"), ("fragment", "results")]


def test_of_jobs_that_have_not_changed_nothing_is_read() -> None:
    page = Page()
    page.look()
    page.read.clear()
    assert (page.told(), page.read) == ([], [])
    page.jobs[1] = replace(page.jobs[1], progress=progress(5))
    assert (page.told(), page.read) == ([("fragment", "chosen")], ["right"])


def test_new_curves_are_put_in_and_then_drawn_anew() -> None:
    page = Page()
    page.look()
    page.evaluations = [measured(0.5)]
    page.jobs[0] = replace(page.jobs[0], progress=progress(5))
    told = page.told()
    assert ("fragment", "curves") in told
    assert ("fragment", "results") in told
    page.evaluations = [measured(0.5), measured(0.75)]
    page.jobs[0] = replace(page.jobs[0], progress=progress(10))
    told = page.told()
    assert {("figure", "top1"), ("fragment", "top1-rows")} <= set(told)
    assert ("fragment", "curves") not in told


def test_it_ends_with_the_last_of_the_jobs() -> None:
    page = Page()
    page.jobs[0] = replace(page.jobs[0], status=Status.FAILED)
    assert not page.look().is_last
    page.jobs[1] = replace(page.jobs[1], status=Status.CANCELLED)
    assert page.look().is_last
