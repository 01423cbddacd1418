"""What has changed on a job's page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from service.access.caller import EVERYONE
from service.jobs.records import JobRecord
from service.ui.charts import Chart, axis, line
from service.ui.job.facts import Pulse
from service.ui.job.head import head
from service.ui.job.live import LiveJob, Seen
from service.ui.job.log import LogReader
from service.ui.job.sections import Section
from service.ui.job.shared import SLOW_EVERY_S
from service.ui.live import Look
from tests.unit.service.conftest import progress
from tests.unit.service.jobs.records import job as job_record
from tests.unit.service.ui.job.test_log import printed
from trainer.contract.status import Status


def chart(name: str, *values: float) -> Chart:
    return Chart(
        id=name,
        title=name,
        data=[line(name, [*range(len(values))], values)],
        layout={"xaxis": axis("Step")},
        columns=("Step",),
        rows=[[str(value)] for value in values],
    )


class Page:
    """A job that a test changes, and what a page is told of it."""

    def __init__(self, run: Path, *, charts: Sequence[str] = ()) -> None:
        self.job: JobRecord = job_record()
        self.newest = 1
        self.now_s = 100.0
        self.charts = [chart("loss", 1.0)]
        self.result: object = None
        self.read: list[str] = []
        self.is_current = True
        self.is_newer = True
        self.look = LiveJob(
            pulse=lambda: (self.job, self.newest),
            head=self._head,
            quick=self._quick,
            slow=self._slow,
            log=LogReader(run=run, attempt=1),
            charts=charts,
            clock=lambda: self.now_s,
        )

    def _sections(self) -> list[Section]:
        return [Section(id="result", view=self.result)]

    def _head(self, job: JobRecord) -> Section:
        return Section(id="head", view=head(job, EVERYONE))

    def _quick(self) -> Seen:
        self.read.append("quick")
        return Seen(sections=self._sections())

    def _slow(self, pulse: Pulse) -> Seen | None:
        assert pulse == (self.job, self.newest)
        self.read.append("slow")
        if not self.is_newer:
            return None
        return Seen(sections=self._sections(), charts=self.charts, is_current=self.is_current)

    def told(self) -> list[tuple[str, str]]:
        return told(self.look())


def told(look: Look) -> list[tuple[str, str]]:
    return [(change.kind, change.target) for change in look.changes]


def test_the_first_look_sends_what_the_page_shows(tmp_path: Path) -> None:
    page = Page(tmp_path)
    assert page.told() == [("fragment", "result"), ("fragment", "curves"), ("fragment", "log-text")]


def test_charts_that_the_page_has_keep_their_switches(tmp_path: Path) -> None:
    page = Page(tmp_path, charts=["loss"])
    assert ("figure", "loss") in page.told()
    page.charts, page.newest = [chart("loss", 1.0), chart("errors", 0.5)], 2
    page.now_s += SLOW_EVERY_S
    assert page.told() == [("fragment", "curves")]


def test_while_nothing_changes_nothing_is_read(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.look()
    page.read.clear()
    page.now_s += 60
    assert (page.told(), page.read) == ([], [])


def test_a_step_alone_changes_the_head_alone(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.look()
    page.read.clear()
    page.job = replace(page.job, progress=progress(5))
    assert (page.told(), page.read) == ([("fragment", "head")], [])


def test_charts_are_read_again_every_few_seconds_at_most(tmp_path: Path) -> None:
    page = Page(tmp_path, charts=["loss"])
    page.look()
    page.read.clear()
    page.charts, page.newest = [chart("loss", 1.0, 0.9)], 2
    assert (page.told(), page.read) == ([], ["quick"])
    # What was owed is read, though nothing more happens.
    page.now_s += SLOW_EVERY_S
    assert page.told() == [("figure", "loss"), ("fragment", "loss-rows")]
    assert page.read == ["quick", "slow"]


def test_what_others_read_a_moment_ago_is_shown_and_asked_for_anew(tmp_path: Path) -> None:
    page = Page(tmp_path, charts=["loss"])
    page.is_current = False
    page.look()
    page.read.clear()
    # Nobody has read anything newer: what is quick is shown meanwhile.
    page.is_newer, page.newest = False, 2
    assert (page.told(), page.read) == ([], ["slow", "quick"])
    page.is_newer, page.is_current, page.charts = True, True, [chart("loss", 1.0, 0.9)]
    assert page.told() == [("figure", "loss"), ("fragment", "loss-rows")]
    page.read.clear()
    assert (page.told(), page.read) == ([], [])


def test_the_end_is_told_whole_and_at_once(tmp_path: Path) -> None:
    printed(tmp_path, 1, "one\n")
    page = Page(tmp_path)
    page.look()
    page.job = replace(page.job, status=Status.CANCELLED)
    page.charts = [chart("loss", 1.0, 0.9)]
    printed(tmp_path, 1, "the last, without an end of line")
    look = page.look()
    assert look.is_last
    assert told(look) == [
        ("figure", "loss"),
        ("fragment", "loss-rows"),
        ("append", "log-text"),
    ]


def test_what_is_printed_is_added_and_inert(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.look()
    printed(tmp_path, 1, "<script>alert(1)</script>\n")
    (change,) = page.look().changes
    assert (change.kind, change.html) == ("append", "&lt;script&gt;alert(1)&lt;/script&gt;\n")
