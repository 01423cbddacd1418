"""The set that is asked for, and whose batch of it, as the store and the manifest have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from data_shards.manifest import Manifest, ManifestError
from service.access.caller import Caller, Role
from service.api.dependencies import MAX_INTEGER
from service.api.errors import RefusedRequestError
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.problems import ProblemType
from service.store.jobs import read_job
from service.submission.admission import confine
from service.submission.manifests import read_manifest
from service.ui.data_batch import options_of
from service.ui.data_choice import (
    Choice,
    check_step,
    chosen,
    is_only_measured_on,
    job_choices,
    job_named,
    preset_choices,
)
from service.ui.data_facts import named_sets
from service.ui.data_looks import batch_key, key_of
from trainer.contract.spec import MAX_LOCATION_CHARACTERS

MAX_WHOSE_CHARACTERS = 80
# Jobs whose data are listed.
_LATEST = 200


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an address or a form asks for."""

    location: str
    whose: str = ""
    """Whose batch, `job:ID` or `preset:NAME`; empty: that of the newest job."""
    step: int = 0

    @property
    def query(self) -> str:
        """Ask for it by an address."""
        whose = {"whose": self.whose, "step": self.step} if self.whose or self.step else {}
        return urlencode({"location": self.location, **whose})


def read_asked(form: Mapping[str, str]) -> Asked:
    """Return what a form asks for. Raises RefusedRequestError."""
    step = form.get("step", "").strip() or "0"
    if not (step.isascii() and step.isdigit()) or len(step) > 10 or int(step) > MAX_INTEGER:
        message = f"the step must be a whole number from 0 to {MAX_INTEGER:,}"
        raise RefusedRequestError(ProblemType.INVALID_REQUEST, message)
    return Asked(
        location=form.get("location", "").strip()[:MAX_LOCATION_CHARACTERS],
        whose=form.get("whose", "").strip()[:MAX_WHOSE_CHARACTERS],
        step=int(step),
    )


@dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """A set that was asked for, and whose batches there can be."""

    file: str
    """True path, or URL, of its manifest."""
    manifest: Manifest
    key: str
    choices: Sequence[Choice]
    default: Choice | None
    """Whose batch is shown where nobody is named; None: nobody's."""


@dataclass(frozen=True, kw_only=True)
class WantedBatch:
    """A batch of it."""

    choice: Choice
    step: int
    """Counted over the whole job."""
    options: tuple[str, ...]
    key: str


def seen_jobs(plane: ControlPlane, caller: Caller) -> list[JobRecord]:
    """Return the newest jobs that the caller is told of."""
    found = plane.store.jobs(seen_by=caller, limit=_LATEST)
    return [job for job in found if isinstance(job, JobRecord)]


def open_asked(
    plane: ControlPlane, caller: Caller, asked: Asked, jobs: Sequence[JobRecord]
) -> OpenedSet:
    """Read a set's manifest; `jobs` are those that the caller is told of.

    Raises ManifestError, StoreBusyError, and JobNotFoundError where its batch is to be that of a
    job that the caller is not told of.
    """
    named = _job_named(plane, caller, asked, jobs)
    # Whoever submits is told as much of every path below the roots.
    is_named = any(one.location == asked.location for one in named_sets([*jobs, *named]))
    if not is_named and not caller.role.covers(Role.SUBMITTER):
        raise ManifestError(
            "no job that you can see names this set; a token that may submit jobs may look at "
            "others too"
        )
    file = confine(asked.location, plane.settings.data_roots)
    manifest = read_manifest(file)
    places = {file, asked.location}
    of_jobs, presets = job_choices(jobs, places), preset_choices(manifest, file)
    default = next(iter([*of_jobs, *presets]), None)
    if is_only_measured_on(jobs, places):
        default = None
    of_jobs += [one for one in job_choices(named, places) if one not in of_jobs]
    return OpenedSet(
        file=file,
        manifest=manifest,
        key=key_of(manifest, file),
        choices=[*of_jobs, *presets],
        default=default,
    )


def _job_named(
    plane: ControlPlane, caller: Caller, asked: Asked, jobs: Sequence[JobRecord]
) -> list[JobRecord]:
    """Return the job whose batch is asked for, if one is; it may be older than those."""
    job_id = job_named(asked.whose)
    if job_id is None:
        return []
    known = [job for job in jobs if job.id == job_id]
    return known or [
        plane.store.read_at_once(lambda connection: read_job(connection, job_id, seen_by=caller))
    ]


def wanted_batch(opened: OpenedSet, asked: Asked) -> WantedBatch | None:
    """Return the batch that is asked for; None: none is. Raises ChoiceError."""
    choice = chosen(opened.choices, asked.whose) if asked.whose else opened.default
    if choice is None:
        return None
    check_step(choice, asked.step, opened.manifest)
    options = options_of(choice.spec, asked.step, num_samples=opened.manifest.num_samples)
    return WantedBatch(
        choice=choice,
        step=asked.step,
        options=options,
        key=batch_key(opened.key, choice.value, options),
    )


def located(asked: Asked, jobs: Sequence[JobRecord]) -> Asked:
    """Return what is asked for, of the newest job's training data where no set is named. Pure."""
    sets = named_sets(jobs[:1])
    return asked if asked.location or not sets else replace(asked, location=sets[0].location)
