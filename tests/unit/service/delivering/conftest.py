from datetime import timedelta

import pytest

from service.webhooks import patience


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again at once."""
    monkeypatch.setattr(patience, "FIRST_WAIT", timedelta(milliseconds=10))
