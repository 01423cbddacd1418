"""Whose batch of a set is drawn: that of a job which trains on it, or of a preset. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from data_shards.manifest import Manifest
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.data_batch import steps_per_epoch
from trainer.contract.presets import PRESETS, expand_preset
from trainer.contract.spec import JobSpec
from trainer.contract.timetable import Timetable

# Assumed: more would not be read; another is asked for by its id, in the address.
MAX_JOBS = 20
_JOB, _PRESET = "job:", "preset:"


class ChoiceError(ValueError):
    """There is no such batch; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Whose batch may be drawn."""

    name: str
    spec: JobSpec
    job_id: str | None
    """None: it is a preset."""

    @property
    def value(self) -> str:
        """Names it in forms and addresses."""
        return f"{_PRESET}{self.name}" if self.job_id is None else f"{_JOB}{self.job_id}"

    @property
    def kind(self) -> str:
        """Heads its like in a list; jobs come first by it."""
        return "Presets" if self.job_id is None else "Jobs"

    @property
    def label(self) -> str:
        """Names it for people."""
        return self.name if self.job_id is None else f"{self.name} ({self.job_id})"


def job_choices(jobs: Iterable[JobRecord], places: Collection[str]) -> list[Choice]:
    """Return the newest jobs that train on a set, which lies at these places, in their order."""
    return [
        Choice(name=job.spec.name, spec=job.spec, job_id=job.id)
        for job in jobs
        if job.spec.kind == "train" and job.spec.data.train in places
    ][:MAX_JOBS]


def preset_choices(manifest: Manifest, location: str) -> list[Choice]:
    """Return the presets whose crops the images of a set are large enough for."""
    data = {"train": location, "validation": location}
    specs = {
        name: JobSpec.model_validate(expand_preset({"preset": name, "name": name, "data": data}))
        for name in PRESETS
    }
    return [
        Choice(name=name, spec=spec, job_id=None)
        for name, spec in specs.items()
        if spec.model.input_size <= manifest.image_size
    ]


def job_named(whose: str) -> str | None:
    """Return the id of the job that is asked for; None: none is."""
    return whose.removeprefix(_JOB) if whose.startswith(_JOB) else None


def is_only_measured_on(jobs: Iterable[JobRecord], places: Collection[str]) -> bool:
    """Whether jobs name a set, and none of them to train on it."""
    uses = {
        split
        for job in jobs
        for split in ("train", "validation")
        if getattr(job.spec.data, split) in places
    }
    return uses == {"validation"}


def chosen(choices: Sequence[Choice], whose: str) -> Choice:
    """Return the one that is asked for. Raises ChoiceError where there is no such."""
    found = next((one for one in choices if one.value == whose), None)
    if found is None:
        known = ", ".join(one.value for one in choices) or "nobody: its images are too small"
        raise ChoiceError(f"no batch of this set goes by {whose!r}; choose one of {known}")
    return found


def check_step(choice: Choice, step: int, manifest: Manifest) -> None:
    """Raise ChoiceError where a job takes no such step of a set."""
    per_epoch = steps_per_epoch(choice.spec, num_samples=manifest.num_samples)
    planned = Timetable.of(choice.spec, steps_per_epoch=per_epoch).planned_steps
    if step >= planned:
        raise ChoiceError(
            f"{choice.label} takes {formats.count(planned)} steps, the first of which is 0; there "
            f"is no step {step}"
        )
