import pytest

from tests.unit.trainer.attempt.watched_attempt import Clock
from trainer.attempt import watchdog as module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock
