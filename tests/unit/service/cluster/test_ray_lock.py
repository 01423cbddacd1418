from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cluster import ray_lock
from service.cluster.ray_lock import RayLock


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[RayLock, RayLock]]:
    first, next_one = (RayLock(tmp_path / "ray.lock", url=url) for url in ("first", "next"))
    assert first.acquire()
    assert not next_one.acquire()
    yield first, next_one
    first.release()
    next_one.release()


def test_what_is_given_up_is_free_at_once_and_not_acquired_until_it_is_claimed(
    locks: tuple[RayLock, RayLock],
) -> None:
    first, next_one = locks
    first.give_up()
    assert not first.acquire()
    assert next_one.acquire()
    next_one.give_up()
    first.claim()
    assert first.acquire()


def test_what_is_given_up_in_use_is_free_when_that_ends(locks: tuple[RayLock, RayLock]) -> None:
    first, next_one = locks
    with first.in_use():
        first.give_up()
        assert first.is_held
        assert not next_one.acquire()
    assert next_one.acquire()


def test_who_hangs_with_it_keeps_it_and_holds_up_no_stop(
    locks: tuple[RayLock, RayLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_lock, "PATIENCE_S", 0.01)
    first, next_one = locks
    with first.in_use():
        with first.in_use():
            first.give_up()
        assert not next_one.acquire()
    assert next_one.acquire()
