"""All that the API offers, in one client."""

from service.client.admin import AdminClient
from service.client.files import FileClient
from service.client.webhooks import WebhookClient


class Client(FileClient, WebhookClient, AdminClient):
    """Speaks to one service; close it, or use it in a `with` statement.

    Jobs, their events, history, logs, files and checkpoints, webhooks, and what admins do. Each
    call raises ProblemError where the service refuses, ServiceUnreachableError where it does not
    answer.
    """
