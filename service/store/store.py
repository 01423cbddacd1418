"""Everything the service asks of its store, each call one transaction."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import cached_property, partial
from typing import Any, TypeVar

from sqlalchemy import Connection, select, update

from service.access.audit import Action
from service.access.caller import EVERYONE, Caller
from service.access.quotas import UNLIMITED, check_submission
from service.jobs.events import Resized, StatusChanged
from service.jobs.lifecycle import Decision, check_request
from service.jobs.records import (
    AttemptRecord,
    CheckpointRecord,
    EventRecord,
    JobRecord,
    UnreadableJob,
)
from service.jobs.resizing import resized
from service.steady_clock import now_utc
from service.store.attempts import (
    NewAttempt,
    accelerators_in_use,
    attempt_numbers,
    begin_attempt,
    read_attempt,
    read_attempts,
    read_checkpoints,
)
from service.store.audit import note_audit
from service.store.changes import append_event, apply_decision, update_attempt
from service.store.engine import MIGRATE_BUSY_TIMEOUT_MS, connect, reading, reading_at_once, writing
from service.store.errors import UnreadableJobError
from service.store.group_commit import GroupCommit
from service.store.idempotency import Reservation, complete
from service.store.identity import store_id
from service.store.jobs import (
    UNREADABLE,
    add_job,
    read_job,
    read_jobs,
    readable_jobs,
    write_spec,
)
from service.store.leases import FencedWrites
from service.store.live import LiveJobs
from service.store.migrate import migrate
from service.store.pages import page_of_jobs
from service.store.quotas import quota_of, usage_of
from service.store.reports import Report, Taken, store_reports
from service.store.rows import event_of
from service.store.switches import keep_wish
from service.store.tables import events, jobs
from trainer.contract.events import AttemptEvent
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_ACTIONS = {
    Desired.RUN: Action.RESUME,
    Desired.PAUSE: Action.PAUSE,
    Desired.CANCEL: Action.CANCEL,
}


class Store:
    """Jobs, attempts, events and checkpoints."""

    def __init__(self, url: str, *, fence: Callable[[], int] | None = None) -> None:
        """`fence`: what every write goes by (see `leases`); None: unfenced."""
        self._url = url
        engine = connect(url)
        self._engine = reading(engine)
        self._at_once = reading_at_once(engine)
        self._writing = FencedWrites(writing(engine), fence)
        self._reports = GroupCommit(self._writing.begin, store_reports)
        self._live = LiveJobs()
        self._unreadable: set[str] = set()
        """Jobs that were logged."""

    def migrate(self) -> None:
        """Create the tables, or bring them to this release's schema. For the leader only."""
        patient = connect(self._url, busy_timeout_ms=MIGRATE_BUSY_TIMEOUT_MS)
        try:
            migrate(writing(patient))
        finally:
            patient.dispose()

    def close(self) -> None:
        """Refuse reports that wait, and close every connection."""
        self._reports.close()
        self._engine.dispose()

    @cached_property
    def id(self) -> str:
        """Which store this is; the same in every process, and after a move."""
        return self.read(store_id)

    def check_fence(self) -> int:
        """Return the fence of this process's writes, 0 if unfenced; for acts beyond the store.

        Raises LostLeadershipError.
        """
        return self._writing.check()

    # Jobs

    def submit(
        self,
        job_id: str,
        spec: JobSpec,
        now: datetime,
        *,
        by: Caller = EVERYONE,
        private: bool = False,
        plan: Mapping[str, Any] | None = None,
        cloned_from: str | None = None,
        reservation: Reservation | None = None,
    ) -> JobRecord:
        """Accept a job: QUEUED. Raises QuotaExceededError where its owner may have no further.

        With a reservation of an Idempotency-Key both happen or neither; raises KeyInUseError
        where it was taken over.
        """
        with self._writing.begin() as connection:
            if by.owner is not None:
                quota = quota_of(connection, by.owner, lock=True)
                if quota != UNLIMITED:
                    check_submission(by.owner, quota, usage_of(connection, by.owner, now))
            add_job(
                connection,
                job_id,
                spec,
                now,
                owner=by.owner,
                private=private,
                plan=plan,
                cloned_from=cloned_from,
            )
            queued = StatusChanged(before=None, after=Status.QUEUED)
            append_event(connection, job_id, now, queued)
            if reservation is not None:
                complete(connection, reservation, job_id)
            note_audit(connection, by, Action.SUBMIT, job_id, now)
            return read_job(connection, job_id)

    def job(self, job_id: str) -> JobRecord:
        """Return the job, or raise JobNotFoundError."""
        return self.read_at_once(lambda connection: read_job(connection, job_id))

    def jobs(
        self,
        *,
        status: Status | None = None,
        labels: Iterable[tuple[str, str]] = (),
        owner: str | None = None,
        seen_by: Caller = EVERYONE,
        before_seq: int | None = None,
        oldest_first: bool = False,
        limit: int,
    ) -> Sequence[JobRecord | UnreadableJob]:
        """Return jobs, the newest first; `labels`: only those that have all of them.

        `owner`: only theirs. Where the oldest are first, `before_seq` is the job that comes before
        those.
        """
        page = partial(
            page_of_jobs,
            labelled=[*labels],
            status=status,
            owner=owner,
            seen_by=seen_by,
            cursor=before_seq,
            oldest_first=oldest_first,
            limit=limit,
        )
        try:
            # What the page is cut from may change meanwhile, and it is a page none the less.
            return self.read_at_once(lambda one: readable_jobs(one, *page(one)))
        except UNREADABLE:
            return self.read(lambda connection: read_jobs(connection, *page(connection)))

    def live_jobs(self) -> list[JobRecord]:
        """Return the jobs to which something may still happen, the oldest first.

        One that cannot be read is logged once and left as it is.
        """
        found = self.read(self._live.read)
        for job in found:
            if isinstance(job, UnreadableJob) and job.id not in self._unreadable:
                self._unreadable.add(job.id)
                logger.error("%s", UnreadableJobError(job.id, job.problem))
        return [job for job in found if isinstance(job, JobRecord)]

    def ask(
        self,
        job_id: str,
        desired: Desired,
        *,
        by: Caller = EVERYONE,
        replicas: int | None = None,
    ) -> JobRecord:
        """Write down what the owner wants, from now on with so many replicas.

        Raises RefusedError where it is too late for that, ReplicasRefusedError.
        """
        now = now_utc()
        with self._writing.begin() as connection:
            keep_wish(connection, job_id)
            job = read_job(connection, job_id, lock=True)
            check_request(job, desired)
            if replicas is not None and (spec := resized(job, replicas)) != job.spec:
                write_spec(connection, job_id, spec)
                change = Resized(before=job.spec.scale.replicas, after=replicas)
                append_event(connection, job_id, now, change)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(desired=desired))
            note_audit(connection, by, _ACTIONS[desired], job_id, now)
            return read_job(connection, job_id)

    def note_wait(self, job_id: str, message: str) -> None:
        """Say why a job waits; no event, since it changes with every other job."""
        with self._writing.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(message=message))

    # What the reconciler decides

    def begin_attempt(self, job: JobRecord, new: NewAttempt, now: datetime) -> JobRecord:
        """Admit a waiting job: the attempt and STARTING, together.

        Raises ChangedMeanwhileError if the job is no longer as it was read.
        """
        return self.write(lambda connection: begin_attempt(connection, job, new, now))

    def note_submitted(self, job_id: str, number: int, now: datetime) -> None:
        """Write down that Ray has the attempt."""
        with self._writing.begin() as connection:
            update_attempt(connection, job_id, number, submitted_at=now)

    def apply(self, job: JobRecord, decision: Decision, now: datetime) -> None:
        """Carry out a decision about `job` as it was read; the status changes only here.

        Raises ChangedMeanwhileError if it has changed since.
        """
        with self._writing.begin() as connection:
            apply_decision(connection, job, decision, now)

    # Attempts and what they report

    def attempt(self, job_id: str, number: int) -> AttemptRecord:
        """Return an attempt that is known to exist, or raise StaleAttemptError."""
        return self.read_at_once(lambda connection: read_attempt(connection, job_id, number))

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        """Return the attempts of a job in order."""
        return self.read_at_once(lambda connection: read_attempts(connection, job_id))

    def attempt_numbers(self, job_id: str) -> list[int]:
        """Return the numbers of a job's attempts in order, whatever else is stored of them."""
        return self.read_at_once(lambda connection: attempt_numbers(connection, job_id))

    def accelerators_in_use(self) -> dict[str, str]:
        """Return, by job, what the newest attempt of each job that has not ended was given."""
        return self.read_at_once(accelerators_in_use)

    def append_events(
        self,
        job_id: str,
        number: int,
        reported: Sequence[AttemptEvent],
        *,
        now: datetime | None = None,
        size_bytes: int = 0,
    ) -> Taken:
        """Store what follows without a gap on what is stored; the rest is for another time.

        `now`: by which a job advances; None: by the clock of this process. `size_bytes`: what came
        over the network. Raises StaleAttemptError, and NotWrittenError where too much waits for the
        store.
        """
        at = now or now_utc()
        report = Report(
            job_id=job_id, attempt=number, events=reported, at=at, size_bytes=size_bytes
        )
        return self._reports.write(report, size_bytes)

    def take_report(self, report: Report) -> Future[Taken]:
        """Have a report stored beside others, for whoever must not wait; see `append_events`."""
        return self._reports.submit(report, report.size_bytes)

    def events(self, job_id: str, *, after: int = 0, limit: int) -> list[EventRecord]:
        """Return the events of a job numbered above `after`, in order."""
        query = (
            select(events)
            .where(events.c.job_id == job_id, events.c.number > after)
            .order_by(events.c.number)
            .limit(limit)
        )
        return self.read_at_once(
            lambda connection: [event_of(row) for row in connection.execute(query)]
        )

    def checkpoints(self, job_id: str) -> list[CheckpointRecord]:
        """Return every checkpoint that was reported, in the order of attempts and steps."""
        return self.read_at_once(lambda connection: read_checkpoints(connection, job_id))

    def read(self, query: Callable[[Connection], Result]) -> Result:
        """Run a reading function of this package in one transaction (see `statistics`)."""
        with self._engine.connect() as connection:
            return query(connection)

    def read_at_once(self, query: Callable[[Connection], Result]) -> Result:
        """Run a reading function of this package that asks one statement (see `read`)."""
        with self._at_once.connect() as connection:
            return query(connection)

    def write(self, change: Callable[[Connection], Result]) -> Result:
        """Run changing functions of this package in one transaction."""
        with self._writing.begin() as connection:
            return change(connection)
