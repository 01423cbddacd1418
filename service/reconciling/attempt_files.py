"""What the control plane reads and writes in the folders of attempts."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trainer.contract.attempt import Outcome
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.events import AttemptEvent
from trainer.contract.lineage import step_of
from trainer.contract.order_file import order_of, replace_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

logger = logging.getLogger(__name__)


def redirect(attempt: AttemptDirectory, control_plane_url: str) -> None:
    """Tell an attempt that has an order where to report from now on, if that has changed.

    Raises OSError where its folder cannot be used; one that was deleted is not made again.
    """
    order = order_of(attempt)
    if order is not None and order.control_plane_url != control_plane_url:
        changed = order.model_copy(update={"control_plane_url": control_plane_url})
        replace_order(attempt, changed)
        logger.info("attempt %d of job %s is told to report here", order.attempt, order.job_id)


def read_outcome(attempt: AttemptDirectory) -> Outcome | None:
    """Return how the attempt ended, by its own word; None: it has left none that can be read.

    Raises OSError where its folder cannot be used, or is not there.
    """
    try:
        return Outcome.model_validate_json(attempt.outcome.read_bytes())
    except FileNotFoundError:
        # Its order was in the folder: without one its disk is away, and tells nothing.
        attempt.path.stat()
        return None
    except ValidationError as error:
        logger.warning("%s is not an outcome: %s", attempt.outcome, error)
        return None


def read_spool(attempt: AttemptDirectory) -> list[AttemptEvent]:
    """Return what the attempt wrote down of what it did, as far as it can be read."""
    try:
        lines = attempt.events.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("the events of an attempt cannot be read: %s", error)
        return []
    # A process that was killed may leave half a line.
    events = [event for line in lines if (event := _event_of(line)) is not None]
    if len(events) < len(lines):
        logger.warning("%s: %d of %d lines can be read", attempt.events, len(events), len(lines))
    return events


# Of damaged checkpoints so many are told of one by one: a job may keep a thousand.
_MAX_TOLD = 3


@dataclass(frozen=True)
class ResumePoint:
    """Where a next attempt goes on."""

    checkpoint: str | None
    """The latest whole one of the lineage, relative to the run directory; None: from the start."""
    damaged: str | None
    """For people: which later ones are damaged, and how; None: none is."""


def has_advanced(run: RunDirectory, attempts: Iterable[int], resume_from: str | None) -> bool:
    """Say whether a next attempt would go on from beyond `resume_from`: damaged steps are none.

    Raises OSError where the run directory cannot be used.
    """
    following = resume_point(run, attempts).checkpoint
    start = 0 if resume_from is None else step_of(resume_from)
    return following is not None and step_of(following) > start


def resume_point(run: RunDirectory, attempts: Iterable[int]) -> ResumePoint:
    """Find where a next attempt goes on. Raises OSError where the run directory cannot be used."""
    latest = latest_checkpoint(run, attempts)
    for damaged in latest.damaged:
        logger.warning("%s; an earlier one is taken", damaged)
    told = [
        f"{damaged.folder.relative_to(run.path)} is damaged ({damaged.problem})"
        for damaged in latest.damaged[:_MAX_TOLD]
    ]
    if (num_left := len(latest.damaged) - len(told)) > 0:
        told.append(f"so are {num_left} more")
    found = latest.checkpoint
    return ResumePoint(
        None if found is None else str(found.folder.relative_to(run.path)),
        "; ".join(told) or None,
    )


def unusable(folder: Path, error: OSError) -> str:
    """Say, for people, that a run directory cannot be used, and what to do."""
    return (
        f"the run directory {folder} cannot be used ({error}); bring back its disk, make room on "
        "it, let the service write there, or move away what lies in its place"
    )


def _event_of(line: bytes) -> AttemptEvent | None:
    try:
        return AttemptEvent.model_validate_json(line)
    except ValidationError:
        return None
