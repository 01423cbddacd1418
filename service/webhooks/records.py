"""What is known of webhooks: frozen records, which the store makes from its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.access.caller import Caller, Role
from service.webhooks.happenings import Happening

MAX_PER_OWNER = 20


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address that is told of what happens to jobs."""

    id: str
    owner: str | None
    """None: of one that was made where no tokens were asked for."""
    all_jobs: bool
    """Whether it is told of every job, or of its owner's alone."""
    url: str = field(repr=False)
    """May hold a secret of the receiver's: for its owner and admins, and no log."""
    events: frozenset[Happening]
    secret: str = field(repr=False)
    description: str
    created_at: datetime
    last_try: "Try | None" = None
    num_given_up: int = 0

    @property
    def needs(self) -> Role:
        """The role without which its owner would not be told what it is."""
        return Role.ADMIN if self.all_jobs else Role.SUBMITTER

    def is_shown_to(self, caller: Caller) -> bool:
        """Whether someone may look at it, and test and delete it."""
        return caller.is_admin or (self.owner is not None and self.owner == caller.owner)


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try at a delivery, and what came of it."""

    at: datetime
    message_id: str
    event: str
    delivered: bool
    detail: str
    """For people: the status that was answered, or why there was none."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message that a webhook is to be sent."""

    seq: int
    message_id: str
    webhook: Webhook
    job_id: str
    event: str
    body: str
    created_at: datetime
    num_tries: int
    """That have failed."""


def message(event: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is sent, as the Standard Webhooks specification recommends it."""
    return {"type": event, "timestamp": at.isoformat(), "data": data}
