import pytest

from service.access.caller import Role
from service.client.arguments import WrongArgumentError
from service.client.client import Client


def test_what_the_service_would_refuse_is_named_by_its_field_and_not_sent() -> None:
    # No service is there to be asked.
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(WrongArgumentError, match=r"^this cannot be asked for:\n  url: "):
            client.create_webhook("")
        with pytest.raises(WrongArgumentError, match=r"\n  events: "):
            client.create_webhook("https://hooks.example.org", events=())
        with pytest.raises(WrongArgumentError, match=r"\n  expires_in_days: "):
            client.create_token("ann", Role.VIEWER, expires_in_days=-1)
