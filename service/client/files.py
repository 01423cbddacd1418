"""A typed client of what jobs leave: logs, files of the run directory, checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpx

from service.client.errors import ProblemError, ServiceUnreachableError, problem_of
from service.client.jobs import STREAM_TIMEOUT, JobClient, lines_of, segment
from service.client.outage import Outage, will_pass
from service.problems import Problem
from service.views.files import ArtifactList, LogText
from service.views.jobs import Checkpoint

AttemptChoice = int | Literal["all"] | None


class FileClient(JobClient):
    """Speaks to one service, also of what jobs have printed and saved."""

    def logs(
        self, job_id: str, *, attempt: AttemptChoice = None, tail: int | None = None
    ) -> Iterator[LogText]:
        """Yield what the newest attempt has printed, or another, or all; `tail`: so many lines."""
        query = _query(attempt=attempt, tail=tail, follow=False)
        for text in self._texts(job_id, query, None):
            if text is not None:
                yield text

    def follow_logs(
        self, job_id: str, *, attempt: AttemptChoice = None, tail: int | None = None
    ) -> Iterator[LogText]:
        """Yield what is printed, over attempts, until the job has ended, across short outages."""
        query = _query(attempt=attempt, tail=tail, follow=True)
        last_id: str | None = None
        outage = Outage()
        is_over = False
        self.get(job_id)  # What is wrong from the start is told at once.
        while True:
            try:
                # Asked first: what was printed before the end is then in the stream.
                is_over = self.get(job_id).is_terminal
                found = False
                for text in self._texts(job_id, query, last_id):
                    outage.end()
                    if text is not None:
                        found = True
                        yield text
                        last_id = f"{text.attempt}:{text.next_offset}"
                if is_over and not found:
                    return
                outage.end()
            except (ServiceUnreachableError, ProblemError) as error:
                if not (will_pass(error) and outage.go_on()):
                    raise

    def artifacts(self, job_id: str) -> ArtifactList:
        """List the files of the run directory."""
        return self._ask("GET", f"/jobs/{segment(job_id)}/artifacts", ArtifactList)

    def pin_checkpoint(self, job_id: str, step: int) -> Checkpoint:
        """Keep a checkpoint until it is unpinned, whatever its job writes meanwhile."""
        return self._ask("POST", f"{_checkpoint(job_id, step)}/pin", Checkpoint)

    def unpin_checkpoint(self, job_id: str, step: int) -> Checkpoint:
        """Let a checkpoint go again, as one that was never pinned."""
        return self._ask("DELETE", f"{_checkpoint(job_id, step)}/pin", Checkpoint)

    def delete_checkpoint(self, job_id: str, step: int) -> None:
        """Delete a checkpoint that is neither pinned nor what a job that lives goes on from."""
        answer = self._request("DELETE", _checkpoint(job_id, step))
        if answer.is_error:
            raise problem_of(answer)

    @contextmanager
    def open_checkpoint(
        self, job_id: str, step: int, *, start: int, stop: int | None = None, etag: str = ""
    ) -> Iterator[httpx.Response]:
        """Give bytes [start, stop) of a checkpoint's tar, to be read (see `download`).

        All of it where it no longer has the ETag that is given.
        """
        headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        if etag:
            headers["If-Range"] = etag
        with self._open(f"{_checkpoint(job_id, step)}/download", headers=headers) as answer:
            yield answer

    def _texts(
        self, job_id: str, query: dict[str, Any], last_id: str | None
    ) -> Iterator[LogText | None]:
        # None: a line that is no event, but says that the service lives. Raises ProblemError where
        # the last event tells of a problem.
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        path = f"/jobs/{segment(job_id)}/logs"
        with self._open(path, headers=headers, params=query, timeout=STREAM_TIMEOUT) as answer:
            is_problem = False
            for line in lines_of(answer):
                is_problem = is_problem or line == "event: problem"
                is_event = line.startswith("data:")
                if not is_problem:
                    yield self._read(LogText, line.removeprefix("data:")) if is_event else None
                elif is_event:
                    raise ProblemError(self._read(Problem, line.removeprefix("data:")))

    @contextmanager
    def _open(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Give an answer that is read as it comes."""
        try:
            with self._http.stream("GET", path, **options) as answer:
                if answer.is_error:
                    answer.read()
                    raise problem_of(answer)
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from error


def _query(*, attempt: AttemptChoice, tail: int | None, follow: bool) -> dict[str, Any]:
    given = {"attempt": attempt, "tail": tail}
    return {"follow": follow} | {name: value for name, value in given.items() if value is not None}


def _checkpoint(job_id: str, step: int) -> str:
    return f"/jobs/{segment(job_id)}/checkpoints/{step}"
