"""A typed client of webhooks."""

from collections.abc import Sequence

from service.client.arguments import named_by_field
from service.client.errors import problem_of
from service.client.jobs import JobClient, segment
from service.views.webhooks import (
    CreatedWebhook,
    WebhookList,
    WebhookRequest,
    WebhookTry,
    WebhookView,
)
from service.webhooks.happenings import ENDED, Happening


class WebhookClient(JobClient):
    """Speaks to one service, also of who is told what happens to jobs."""

    def webhooks(self) -> tuple[WebhookView, ...]:
        """List webhooks, the newest first: admins see all, others their own."""
        return self._ask("GET", "/webhooks", WebhookList).webhooks

    def create_webhook(
        self,
        url: str,
        *,
        events: Sequence[Happening] = ENDED,
        all_jobs: bool = False,
        description: str = "",
    ) -> CreatedWebhook:
        """Have an address told what happens to jobs; its secret is told this once.

        Raises WrongArgumentError.
        """
        with named_by_field():
            request = WebhookRequest(
                url=url, events=tuple(events), all_jobs=all_jobs, description=description
            )
        return self._ask("POST", "/webhooks", CreatedWebhook, json=request.model_dump(mode="json"))

    def test_webhook(self, webhook_id: str) -> WebhookTry:
        """Send a webhook a message now, and say what came of it."""
        return self._ask("POST", f"/webhooks/{segment(webhook_id, 'webhook')}/test", WebhookTry)

    def delete_webhook(self, webhook_id: str) -> None:
        """Have a webhook told nothing more, but for what is on its way."""
        answer = self._request("DELETE", f"/webhooks/{segment(webhook_id, 'webhook')}")
        if answer.is_error:
            raise problem_of(answer)
