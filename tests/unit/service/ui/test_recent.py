"""What is read for all pages by whoever comes first."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from service.ui.recent import Recent, RecentOf


class Source:
    """What is read, by a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_reads = 0
        self.takes_s = 0.0
        self.is_away = False
        self.begun, self.goes_on = Event(), Event()
        self.goes_on.set()
        self.recent = Recent(self._read, for_s=1.0, clock=lambda: self.now_s)

    def _read(self) -> int:
        self.num_reads += 1
        self.begun.set()
        assert self.goes_on.wait(60)
        self.now_s += self.takes_s
        if self.is_away:
            raise ValueError("away")
        return self.num_reads

    def while_read(self, act: Callable[[], None]) -> int:
        """Act while another thread reads; return what that thread got."""
        self.begun.clear()
        self.goes_on.clear()
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(self.recent.get)
            try:
                assert self.begun.wait(60)
                act()
            finally:
                self.goes_on.set()
            return reading.result()


def fails(source: Source) -> None:
    with pytest.raises(ValueError, match="away"):
        source.recent.get()


def test_it_is_read_once_in_a_while() -> None:
    source = Source()
    assert [source.recent.get(), source.recent.get()] == [1, 1]
    source.now_s = 1.0
    assert source.recent.get() == 2


def test_a_failure_is_remembered_as_long() -> None:
    source = Source()
    source.is_away = True
    fails(source)
    fails(source)
    assert source.num_reads == 1
    source.is_away, source.now_s = False, 1.0
    assert source.recent.get() == 2


@pytest.mark.parametrize("is_away", [False, True])
def test_a_read_that_takes_long_is_not_over_age_at_once(is_away: bool) -> None:
    source = Source()
    source.takes_s, source.is_away = 5.0, is_away
    for _ in range(2):
        if is_away:
            fails(source)
        else:
            source.recent.get()
    assert source.num_reads == 1


def test_who_comes_while_another_reads_has_what_was_read_before() -> None:
    source = Source()
    source.recent.get()
    source.now_s = 1.0
    got: list[int] = []
    assert source.while_read(lambda: got.append(source.recent.get())) == 2
    assert got == [1]


def test_who_comes_while_a_store_stays_away_does_not_wait_for_it() -> None:
    source = Source()
    source.is_away = True
    fails(source)
    source.now_s = 1.0

    def act() -> None:
        fails(source)
        source.is_away = False

    assert source.while_read(act) == 2


def test_what_is_old_is_waited_for_and_read_once() -> None:
    source = Source()
    source.recent.get()
    source.now_s = 3600.0
    with ThreadPoolExecutor(3) as threads:
        waiters: list[Future[int]] = []
        source.while_read(
            lambda: waiters.extend(threads.submit(source.recent.get) for _ in range(3))
        )
        assert [waiter.result() for waiter in waiters] == [2, 2, 2]


def test_the_last_state_is_waited_for_while_an_earlier_one_is_read() -> None:
    begun, goes_on, read = Event(), Event(), list[str]()

    def look(state: str) -> str:
        read.append(state)
        if state == "second":
            begun.set()
            assert goes_on.wait(60)
        return state

    recent = RecentOf(look, for_s=0.0)
    assert recent.get("first", is_last=False) == "first"
    with ThreadPoolExecutor(2) as threads:
        reading = threads.submit(recent.get, "second", is_last=False)
        try:
            assert begun.wait(60)
            assert recent.get("third", is_last=False) == "first"
            ending = threads.submit(recent.get, "last", is_last=True)
        finally:
            goes_on.set()
        assert (reading.result(), ending.result()) == ("second", "last")
    assert recent.get("last", is_last=True) == "last"
    assert read == ["first", "second", "last"]


def test_a_read_of_a_state_that_failed_is_tried_again() -> None:
    answers: list[Callable[[], str]] = []
    recent: RecentOf[str, str] = RecentOf(lambda _state: answers.pop()(), for_s=60.0)

    def fail() -> str:
        raise ValueError("away")

    answers += [lambda: "read", fail]
    with pytest.raises(ValueError, match="away"):
        recent.get("state", is_last=True)
    assert recent.get("state", is_last=True) == "read"
