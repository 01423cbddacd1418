"""What the API tells of webhooks, as types that the client shares."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.views.access import Description
from service.views.jobs import View
from service.webhooks.address import MAX_URL_CHARACTERS
from service.webhooks.happenings import ENDED, Happening
from service.webhooks.records import Try, Webhook


class WebhookRequest(BaseModel):
    """What a webhook is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)] = Field(
        description="Where to POST: https, or http to loopback where the operator allows it.",
        examples=["https://hooks.example.org/alexnet"],
    )
    events: tuple[Happening, ...] = Field(
        default=ENDED, min_length=1, description="What it is told of; by default, that a job ended."
    )
    all_jobs: bool = Field(
        default=False,
        description="Of every job and not the caller's own alone: for admins. Where no tokens are "
        "asked for, it is every job.",
    )
    description: Description = ""


class WebhookTry(View):
    """One try to tell a webhook something."""

    at: datetime
    message_id: str = Field(description="The `webhook-id` header of the message.")
    event: str = Field(description="The `type` of the message.")
    delivered: bool = Field(description="Whether it was answered with 2xx.")
    detail: str = Field(description="What was answered, or why nothing was; for people.")


class WebhookView(View):
    """A webhook: never its secret."""

    id: str
    owner: str | None = Field(description="Null: it was made where no tokens were asked for.")
    url: str
    events: tuple[str, ...]
    all_jobs: bool
    description: str
    created_at: datetime
    pending: int = Field(description="Messages that it is still to be sent.")
    num_given_up: int = Field(description="Messages that it could not be sent for a day.")
    last_try: WebhookTry | None


class CreatedWebhook(WebhookView):
    """A new webhook with its secret, which is told this once."""

    secret: str = Field(
        description="What messages to it are signed with (standardwebhooks.com).",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class WebhookList(View):
    """Webhooks, the newest first."""

    webhooks: tuple[WebhookView, ...]


def webhook_view(webhook: Webhook, pending: int) -> WebhookView:
    """Show a webhook."""
    return WebhookView(
        id=webhook.id,
        owner=webhook.owner,
        url=webhook.url,
        events=tuple(one for one in Happening if one in webhook.events),
        all_jobs=webhook.all_jobs,
        description=webhook.description,
        created_at=webhook.created_at,
        pending=pending,
        num_given_up=webhook.num_given_up,
        last_try=None if webhook.last_try is None else try_view(webhook.last_try),
    )


def try_view(tried: Try) -> WebhookTry:
    """Show a try."""
    return WebhookTry(**vars(tried))
