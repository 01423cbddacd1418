"""What the API answers those who run the service, as types that the client shares."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.access.caller import Role
from service.access.tokens import TokenRecord
from service.views.jobs import View

# Shown in tables, headers and paths: no spaces, nothing that a terminal acts on.
Owner = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$", max_length=64),
    Field(description="Whose jobs, tokens and quota: a person, a team, a program."),
]
Description = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]


class Token(View):
    """What is known of a token: never the token."""

    id: str
    owner: str
    role: Role
    description: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None = Field(description="To the minute; null: never.")
    is_live: bool = Field(description="Neither revoked nor expired.")


def token_view(record: TokenRecord, now: datetime) -> Token:
    """Show a token: never its secret, nor the digest."""
    shown = {name: value for name, value in vars(record).items() if name in Token.model_fields}
    return Token(is_live=record.is_live(now), **shown)


class TokenList(View):
    """Every token there ever was, the newest first."""

    tokens: tuple[Token, ...]


class CreatedToken(Token):
    """A new token, which is told this once."""

    token: str = Field(description="Send it as `Authorization: Bearer TOKEN`.")


class TokenRequest(BaseModel):
    """What a token is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: Owner
    role: Role
    expires_in_days: int | None = Field(
        default=None, ge=1, le=3650, description="Null: it ends when it is revoked."
    )
    description: Description = ""


class AuditRecord(View):
    """Something that was done."""

    seq: int = Field(description="Counts what was done.")
    at: datetime
    actor: str | None = Field(description="Owner of the token; null where none were asked for.")
    address: str | None = Field(description="Where the request came from; null: this machine.")
    action: str
    target: str | None = Field(description="Id of a job or token, or an owner.")
    detail: dict[str, Any] | None


class AuditPage(View):
    """What was done, the newest first."""

    entries: tuple[AuditRecord, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next; null: no more.")


class QuotaView(BaseModel):
    """What an owner may have; null: as much as there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_active_jobs: int | None = Field(
        default=None, ge=0, le=1_000_000, description="That hold devices at once; others wait."
    )
    max_queued_jobs: int | None = Field(
        default=None, ge=0, le=1_000_000, description="That wait; what is beyond is refused (429)."
    )
    gpu_hours: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="All in all; once spent, jobs are refused (403) and none begins.",
    )
    disk_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**62,
        description="In run directories; beyond it jobs are refused (403).",
    )


class OwnerUsage(View):
    """What an owner has, beside what it may have."""

    owner: str
    active_jobs: int = Field(description="That hold devices, or are about to.")
    queued_jobs: int = Field(description="That wait to begin.")
    gpu_hours: float = Field(description="Of all jobs, those that were deleted too.")
    disk_bytes: int = Field(description="In run directories, measured within the last minute.")
    quota: QuotaView


class UsageList(View):
    """Usage by owner."""

    usage: tuple[OwnerUsage, ...]


class DrainState(View):
    """Whether attempts begin."""

    draining: bool
    since: datetime | None
    pause: bool = Field(description="Whether what ran is paused until the drain ends.")
    active_jobs: int = Field(description="That still hold devices; the drain is done at 0.")
