"""When deletions that were left half done are looked for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.reconciling.deletion import Deletions
from service.reconciling.finisher import Finisher
from service.store.store import Store
from tests.unit.service.conftest import wait_until


class Looks(Deletions):
    """Counts how often it is asked to finish what was begun."""

    def __init__(self, store: Store, run_root: Path) -> None:
        super().__init__(store, run_root)
        self.number = 0

    def finish(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        assert not is_stopping()
        self.number += 1
        raise RuntimeError("unforeseen")


@pytest.fixture
def looks(store: Store, tmp_path: Path) -> Looks:
    return Looks(store, tmp_path)


@contextmanager
def started(finisher: Finisher) -> Iterator[None]:
    finisher.start()
    try:
        yield
    finally:
        finisher.stop()
        assert "deletions" not in {thread.name for thread in threading.enumerate()}


def test_whatever_happens_it_looks_again(looks: Looks) -> None:
    with started(Finisher(looks, is_leader=lambda: True, every_s=0.001)):
        wait_until(lambda: looks.number > 2)


def test_it_looks_at_once_when_this_process_leads_and_not_before(looks: Looks) -> None:
    asked: list[bool] = []
    leads = threading.Event()

    def is_leader() -> bool:
        asked.append(leads.is_set())
        return leads.is_set()

    finisher = Finisher(looks, is_leader=is_leader, every_s=3600)
    with started(finisher):
        wait_until(lambda: asked)
        assert looks.number == 0
        leads.set()
        finisher.wake()
        wait_until(lambda: looks.number == 1)
