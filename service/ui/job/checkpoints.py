"""The table of checkpoints, and the buttons that pin them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access.caller import Caller, Role
from service.api import checkpoints as api
from service.api.dependencies import Leader, OwnJobId, Submitter
from service.jobs.records import JobRecord
from service.run_files.kept_checkpoints import KeptCheckpoint
from service.ui.forms import read_form
from service.ui.pages import local_path
from service.ui.pages import router as page_router
from trainer.contract.checkpoint import WEIGHTS_NAME
from trainer.contract.retention import KeptBecause

router = page_router()

_MARKS = {"pin": api.pin_checkpoint, "unpin": api.unpin_checkpoint}
_REASONS = {
    KeptBecause.LAST: "among the last",
    KeptBecause.BEST: "best top-1",
    KeptBecause.RESUMED_FROM: "resumed from",
    KeptBecause.PINNED: "pinned",
    KeptBecause.INPUT: "another job's input",
}


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """One row."""

    attempt: int
    step: int
    epoch: float
    saved_at: datetime
    size_bytes: int
    sha256: str
    loss: float | None
    top1: float | None
    reasons: tuple[str, ...]
    is_pinned: bool


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The table."""

    job_id: str
    rows: tuple[CheckpointRow, ...]
    """The newest first."""
    may_pin: bool
    trouble: str


def checkpoint_table(
    job: JobRecord,
    caller: Caller,
    kept: Sequence[KeptCheckpoint],
    losses: Sequence[float | None],
    trouble: str = "",
) -> Checkpoints:
    """Put the table together. Pure."""
    rows = [_row(one, loss) for one, loss in zip(kept, losses, strict=True)]
    may_pin = caller.role.covers(Role.SUBMITTER) and caller.may_change(job.ownership)
    return Checkpoints(job_id=job.id, rows=tuple(rows[::-1]), may_pin=may_pin, trouble=trouble)


def _row(kept: KeptCheckpoint, loss: float | None) -> CheckpointRow:
    manifest = kept.checkpoint.manifest
    return CheckpointRow(
        attempt=manifest.attempt,
        step=manifest.step,
        epoch=manifest.epoch,
        saved_at=kept.saved_at,
        size_bytes=sum(file.size_bytes for file in manifest.files.values()),
        sha256=manifest.files[WEIGHTS_NAME].sha256,
        loss=loss,
        top1=manifest.top1,
        reasons=tuple(_REASONS[why] for why in kept.because) or ("goes when the next is written",),
        is_pinned=KeptBecause.PINNED in kept.because,
    )


@router.post("/jobs/{job_id}/checkpoints/{step}/{mark}")
async def mark_checkpoint(
    request: Request,
    plane: Leader,
    caller: Submitter,
    job_id: OwnJobId,
    step: api.Step,
    *,
    mark: Annotated[str, Path(pattern="^(pin|unpin)$")],
) -> Response:
    """Keep a checkpoint, or let it go again; lead back."""
    form = await read_form(request)
    await run_in_threadpool(_MARKS[mark], plane, caller, job_id, step)
    return RedirectResponse(local_path(form.get("back", "")), 303)
