"""What the audit log tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What was done."""

    SUBMIT = "job.submit"
    CANCEL = "job.cancel"
    PAUSE = "job.pause"
    RESUME = "job.resume"
    EDIT = "job.edit"
    DELETE = "job.delete"
    PIN = "checkpoint.pin"
    UNPIN = "checkpoint.unpin"
    DELETE_CHECKPOINT = "checkpoint.delete"
    CREATE_TOKEN = "token.create"  # noqa: S105  # an action, no secret
    REVOKE_TOKEN = "token.revoke"  # noqa: S105
    SET_QUOTA = "quota.set"
    DRAIN = "service.drain"
    UNDRAIN = "service.undrain"
    CREATE_WEBHOOK = "webhook.create"
    TEST_WEBHOOK = "webhook.test"
    DELETE_WEBHOOK = "webhook.delete"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One thing that was done."""

    seq: int
    at: datetime
    actor: str | None
    """Owner of the token; None where no tokens were asked for."""
    address: str | None
    action: str
    target: str | None
    """Id of the job, token or webhook, name of the owner."""
    detail: Mapping[str, Any] | None
