"""Who asks, and what they may see and change. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a token allows; each allows what those before it do."""

    VIEWER = "viewer"
    """Reads what is not private, and what its owner has."""
    SUBMITTER = "submitter"
    """Submits jobs, and changes those of its owner."""
    ADMIN = "admin"
    """Everything, of everyone."""

    def covers(self, needed: "Role") -> bool:
        """Whether it allows what `needed` does."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True)
class Ownership:
    """Whose a job is, and whether others are told of it."""

    owner: str | None
    """None: of one that was submitted where no tokens were asked for."""
    private: bool = False


def may_name(job: Ownership, other: Ownership) -> bool:
    """Whether everyone who sees a job may see the other: what is stored with it may then name it.

    Admins see both; that is not counted on, as what is stored is read by others too.
    """
    return not other.private or (job.private and job.owner == other.owner)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    owner: str | None
    """None: where no tokens are asked for."""
    role: Role
    address: str | None = None
    """Where the request came from."""
    token_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether nothing is kept from them."""
        return self.role is Role.ADMIN

    def may_see(self, job: Ownership) -> bool:
        """Whether they are told that there is such a job."""
        return self.is_admin or not job.private or self._has(job)

    def may_change(self, job: Ownership) -> bool:
        """Whether they may cancel, pause, delete it, and all that."""
        return self.is_admin or (self.role.covers(Role.SUBMITTER) and self._has(job))

    def _has(self, job: Ownership) -> bool:
        # What nobody owns is not that of whoever has no owner.
        return job.owner is not None and job.owner == self.owner


# Where no tokens are asked for, and what the service does by itself.
EVERYONE = Caller(owner=None, role=Role.ADMIN)


class Unknown(StrEnum):
    """Why it is not known who asks."""

    NONE_SENT = "none_sent"
    """No token came."""
    WRONG = "wrong"
    """None of this service, or its secret is another: whoever guesses is told no more."""
    EXPIRED = "expired"
    """Past its time."""
    REVOKED = "revoked"
    """Its owner or an admin has ended it."""
    NO_TOKENS_YET = "no_tokens_yet"
    """There are none, and the request did not come from the service's own machine."""


class UnidentifiedError(Exception):
    """No token, or one that is not valid; the message says how to send one."""

    def __init__(self, message: str, why: Unknown) -> None:
        super().__init__(message)
        self.why = why


class ForbiddenError(Exception):
    """The caller's role, or the job's owner, does not allow it; the message says what would."""


def check_role(caller: Caller, needed: Role) -> None:
    """Raise ForbiddenError where the caller's role does not cover the one needed."""
    if not caller.role.covers(needed):
        raise ForbiddenError(
            f"this needs the role {needed}, and the token of {caller.owner} has {caller.role}; "
            "ask an admin for another token"
        )


def check_change(caller: Caller, job_id: str, job: Ownership) -> None:
    """Raise ForbiddenError where the caller may see the job and not change it."""
    check_role(caller, Role.SUBMITTER)
    if not caller.may_change(job):
        whose = "nobody's" if job.owner is None else f"{job.owner}'s"
        raise ForbiddenError(
            f"job {job_id} is {whose}, and {caller.owner} may only look at it; ask its owner or "
            "an admin"
        )
