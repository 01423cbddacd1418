"""A typed client of the REST API."""

import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, RootModel, ValidationError

from service.client.arguments import checked_key
from service.client.credentials import find_token
from service.client.errors import (
    NotEndedError,
    ProblemError,
    ServiceUnreachableError,
    SubmissionLostError,
    problem_of,
)
from service.client.outage import RECONNECT_PAUSE_S, Outage, may_have_arrived, will_pass
from service.jobs.events import StatusChanged
from service.loopback import is_loopback
from service.problems import Problem, ProblemType
from service.views.access import OwnerUsage, UsageList
from service.views.cluster import ClusterView
from service.views.history import AskedSeries, MetricHistory
from service.views.jobs import (
    Checkpoint,
    CheckpointList,
    Event,
    EventPage,
    Job,
    JobDetail,
    JobPage,
    LiveProgress,
)
from service.views.plans import PlannedJob
from trainer.contract.report import Report
from trainer.contract.status import TERMINAL, Status

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# The service sends a comment every 15 s: silence that is longer means it is gone.
STREAM_TIMEOUT = httpx.Timeout(40.0, connect=5.0)
# The service waits for events no longer than 50 s.
MAX_WAIT_S = 30.0

Answer = TypeVar("Answer", bound=BaseModel)


class _Told(RootModel[Event | LiveProgress]):
    """Whatever the stream tells."""


class _Report(RootModel[Report]):
    """A report of any kind, as an answer."""


class JobClient:
    """Speaks to one service; close it, or use it in a `with` statement."""

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None) -> None:
        """Send `token` with every request; None: that of ALEXNET_TOKEN or the user's file.

        Raises CredentialsError where that file cannot be used.
        """
        self.url = url.rstrip("/")
        token = find_token() if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            # A proxy of the environment is another machine, whose loopback is not this one's.
            trust_env = not is_loopback(httpx.URL(self.url).host)
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=TIMEOUT, trust_env=trust_env
            )
        except httpx.InvalidURL as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Submit a JobSpec, or a preset or `clone` and what differs from it.

        Where its answer is lost it is sent again, with the same key (None: a new one), so that one
        job comes of it. Raises SubmissionLostError after a minute of that.
        """
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        headers = {"Idempotency-Key": checked_key(key)}
        outage = Outage()
        is_lost = False
        while True:
            try:
                return self._ask("POST", "/jobs", Job, json=dict(request), headers=headers)
            except (ServiceUnreachableError, ProblemError) as error:
                is_open = may_have_arrived(error)
                is_lost = is_lost or is_open
                if not is_lost or not (is_open or will_pass(error)):
                    raise
                if not outage.go_on():
                    raise SubmissionLostError(error, key) from error

    def plan(self, request: Mapping[str, Any]) -> PlannedJob:
        """Say what would become of a request; nothing is stored."""
        return self._ask("POST", "/jobs/plan", PlannedJob, json=dict(request))

    def list(
        self,
        *,
        status: Status | None = None,
        labels: Sequence[str] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """List jobs, the newest first; `labels` are KEY=VALUE, and a job has all of them."""
        query = {"status": status, "limit": limit, "cursor": cursor, "label": labels}
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", "/jobs", JobPage, params=given)

    def get(self, job_id: str) -> JobDetail:
        """Look at a job."""
        return self._ask("GET", f"/jobs/{segment(job_id)}", JobDetail)

    def cancel(self, job_id: str) -> Job:
        """End a job."""
        return self._ask("POST", f"/jobs/{segment(job_id)}/cancel", Job)

    def pause(self, job_id: str) -> Job:
        """Have a job checkpoint and give its devices back."""
        return self._ask("POST", f"/jobs/{segment(job_id)}/pause", Job)

    def resume(self, job_id: str, *, replicas: int | None = None) -> Job:
        """Queue a paused job again, from now on with so many replicas."""
        body = {} if replicas is None else {"json": {"replicas": replicas}}
        return self._ask("POST", f"/jobs/{segment(job_id)}/resume", Job, **body)

    def edit(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        labels: Mapping[str, str | None] | None = None,
    ) -> Job:
        """Give a job another priority or other labels, None removes one; the rest stays."""
        given = {"priority": priority, "labels": labels}
        changes = {name: value for name, value in given.items() if value is not None}
        return self._ask("PATCH", f"/jobs/{segment(job_id)}", Job, json=changes)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its run directory."""
        response = self._request("DELETE", f"/jobs/{segment(job_id)}")
        if response.is_error:
            raise problem_of(response)

    def cluster(self, *, limit: int = 100) -> ClusterView:
        """Look at the nodes, what is free of them, and the first of those who wait."""
        return self._ask("GET", "/cluster", ClusterView, params={"limit": limit})

    def usage(self) -> tuple[OwnerUsage, ...]:
        """Read what owners have and may have: admins of all, others their own."""
        return self._ask("GET", "/usage", UsageList).usage

    def checkpoints(self, job_id: str) -> tuple[Checkpoint, ...]:
        """List the checkpoints that were kept, the oldest first."""
        path = f"/jobs/{segment(job_id)}/checkpoints"
        return self._ask("GET", path, CheckpointList).checkpoints

    def report(self, job_id: str) -> Report:
        """Read what came of a job that has succeeded."""
        return self._ask("GET", f"/jobs/{segment(job_id)}/report", _Report).root

    def events(self, job_id: str, *, after: int = 0, wait_s: float = 0.0) -> tuple[Event, ...]:
        """Return up to 1,000 events numbered above `after`.

        While there are none and the job has not ended, wait for them, up to 50 s.
        """
        path = f"/jobs/{segment(job_id)}/events"
        query = {"after": after, "wait_s": wait_s}
        timeout = httpx.Timeout(30.0 + wait_s, connect=5.0)
        return self._ask("GET", path, EventPage, params=query, timeout=timeout).events

    def history(
        self,
        job_id: str,
        *,
        series: Sequence[AskedSeries] = ("loss", "images_per_second"),
        first: int | None = None,
        last: int | None = None,
        points: int = 500,
    ) -> MetricHistory:
        """Read how a job's metrics went in steps `first` to `last`, as at most so many points."""
        query = {"series": ",".join(series), "from": first, "to": last, "points": points}
        given = {name: value for name, value in query.items() if value is not None}
        path = f"/jobs/{segment(job_id)}/metrics"
        return self._ask("GET", path, MetricHistory, params=given)

    def follow(self, job_id: str, *, after: int = 0) -> Iterator[Event | LiveProgress]:
        """Yield events as they happen until the job has ended, across short outages.

        Between them is told how far the job is, whenever that has changed, as of now.
        """
        self.get(job_id)  # What is wrong from the start is told at once.
        last_id = after
        outage = Outage()
        while True:
            try:
                for event in self._stream(job_id, last_id):
                    outage.end()
                    if event is None:
                        continue
                    yield event
                    if isinstance(event, LiveProgress):
                        continue
                    last_id = event.number
                    if _ends(event):
                        return
                # The service is going down, or nothing is left to tell.
                if self.get(job_id).is_terminal and not self.events(job_id, after=last_id):
                    return
                outage.end()
                time.sleep(RECONNECT_PAUSE_S)
            except (ServiceUnreachableError, ProblemError) as error:
                if not (will_pass(error) and outage.go_on()):
                    raise

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> JobDetail:
        """Return the job when it has ended, across short outages; `timeout_s` None: however late.

        Raises NotEndedError after `timeout_s`.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        last, outage = 0, Outage()
        self.get(job_id)  # What is wrong from the start is told at once.
        while True:
            left_s = deadline - time.monotonic()
            try:
                events = self.events(job_id, after=last, wait_s=min(max(left_s, 0.0), MAX_WAIT_S))
                if any(_ends(event) for event in events) or self.get(job_id).is_terminal:
                    return self.get(job_id)
                outage.end()
                last = events[-1].number if events else last
            except (ServiceUnreachableError, ProblemError) as error:
                if not (will_pass(error) and outage.go_on(at_most_s=max(left_s, 0.0))):
                    raise
            if left_s <= 0:
                raise NotEndedError(
                    f"job {job_id} has not ended within {timeout_s:g} s; it goes on"
                )

    def ready(self) -> bool:
        """Whether jobs that are submitted now will run."""
        return self._request("GET", "/readyz").is_success

    def _stream(self, job_id: str, after: int) -> Iterator[Event | LiveProgress | None]:
        # None: a line that is no event, but says that the service lives.
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = f"/jobs/{segment(job_id)}/events"
        try:
            with self._http.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT) as answer:
                if answer.is_error:
                    answer.read()
                    raise problem_of(answer)
                for line in lines_of(answer):
                    is_event = line.startswith("data:")
                    yield self._read(_Told, line.removeprefix("data:")).root if is_event else None
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _ask(self, method: str, path: str, answer: type[Answer], **options: Any) -> Answer:
        response = self._request(method, path, **options)
        if response.is_error:
            raise problem_of(response)
        return self._read(answer, response.content)

    def _read(self, answer: type[Answer], text: str | bytes) -> Answer:
        try:
            return answer.model_validate_json(text)
        except ValidationError as error:
            raise self._unusable("what it answers is not the answer of this service") from error

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise self._unusable(error) from error

    def _unusable(self, why: object) -> ServiceUnreachableError:
        return ServiceUnreachableError(
            f"{self.url!r} is not the address of a service ({why}); name one with --url or "
            f"ALEXNET_URL, such as {DEFAULT_URL}"
        )

    def _unreachable(self, error: httpx.TransportError) -> ServiceUnreachableError:
        return ServiceUnreachableError(
            f"no service answers at {self.url} ({error}); start one with `alexnet serve`, "
            "or name another with --url or ALEXNET_URL"
        )


def _ends(event: Event) -> bool:
    return isinstance(event.data, StatusChanged) and event.data.after in TERMINAL


def lines_of(answer: httpx.Response) -> Iterator[str]:
    """Yield the lines of a stream, which end with a newline: httpx ends them at U+2028 too."""
    rest = ""
    for text in answer.iter_text():
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def segment(of_id: str, what: str = "job") -> str:
    """Return an id as a part of a path; raise ProblemError for what is none of any `what`."""
    # Ids are letters and digits; anything else would be another path.
    if not (of_id.isascii() and of_id.isalnum()):
        kind = ProblemType.NO_SUCH_JOB if what == "job" else ProblemType.NOT_FOUND
        detail = f"there is no {what} {of_id!r}: ids are letters and digits"
        raise ProblemError(
            Problem(type=kind, title=kind.summary, status=kind.status, detail=detail)
        )
    return of_id
