import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from service.steady_clock import Reading
from service.store.idempotency import (
    RESERVED_FOR,
    KeyedRequest,
    KeyInUseError,
    KeyReusedError,
    Made,
    Reservation,
    complete,
    release,
    reserve,
)
from service.store.leases import read_lease, take_lease
from service.store.store import Store
from tests.unit.service.conftest import make_spec, now

DAY = timedelta(days=1)
REQUEST = KeyedRequest(owner="ada", key="k", body_sha256="a" * 64)
OTHER = replace(REQUEST, body_sha256="b" * 64)
AT = now()


def ask(
    store: Store,
    request: KeyedRequest = REQUEST,
    *,
    after: timedelta = timedelta(0),
    in_work: Collection[str] | None = None,
) -> object:
    reservation = Reservation(request=request)
    made = store.write(
        lambda connection: reserve(
            connection, reservation, AT + after, keep_for=DAY, in_work=in_work
        )
    )
    return reservation if made is None else made


def reserved(
    store: Store, request: KeyedRequest = REQUEST, *, after: timedelta = timedelta(0)
) -> Reservation:
    found = ask(store, request, after=after)
    assert isinstance(found, Reservation)
    return found


def lead(store: Store) -> None:
    """Have another process take the lease."""

    def take(connection: Connection) -> int | None:
        return take_lease(
            connection,
            read_lease(connection),
            holder="another",
            url="http://another",
            duration_s=5.0,
            clock=Reading(told_s=0.0, boot="one", steady_s=0.0),
        )

    assert store.write(take)


def submit(store: Store, job_id: str, reservation: Reservation) -> None:
    store.submit(job_id, make_spec(), AT, reservation=reservation)


def test_a_key_makes_one_job_and_says_which(store: Store) -> None:
    submit(store, "a", reserved(store))
    assert ask(store) == ask(store, after=DAY) == Made(job_id="a")


def test_keys_are_their_owners(store: Store) -> None:
    for owner in ("ada", "bob", None):
        reserved(store, replace(REQUEST, owner=owner))


def test_while_the_first_is_in_work_others_are_sent_away_whatever_they_bring(store: Store) -> None:
    reserved(store)
    for request in (REQUEST, OTHER):
        with pytest.raises(KeyInUseError, match="send it again"):
            ask(store, request)


def test_a_key_that_has_made_a_job_takes_no_other_request(store: Store) -> None:
    submit(store, "a", reserved(store))
    with pytest.raises(KeyReusedError, match="use a new key"):
        ask(store, OTHER)


def test_a_refused_request_may_be_mended_and_sent_with_its_key(store: Store) -> None:
    first = reserved(store)
    store.write(lambda connection: release(connection, first))
    submit(store, "a", reserved(store, OTHER))
    # Its own has gone; this is another's, and has made a job besides.
    store.write(lambda connection: release(connection, first))
    assert ask(store, OTHER) == Made(job_id="a")


@pytest.mark.parametrize("after", [RESERVED_FOR, -timedelta(hours=1)])
def test_a_dead_ones_reservation_is_taken_over_and_its_job_is_not_stored(
    store: Store, after: timedelta
) -> None:
    slow = reserved(store)
    second = reserved(store, OTHER, after=after)
    with pytest.raises(KeyInUseError):
        submit(store, "slow", slow)
    store.write(lambda connection: release(connection, slow))
    submit(store, "second", second)
    assert [job.id for job in store.jobs(limit=10)] == ["second"]


def test_what_a_leader_before_this_one_reserved_is_taken_over_at_once(store: Store) -> None:
    lead(store)
    reserved(store)
    with pytest.raises(KeyInUseError):
        ask(store)
    lead(store)
    submit(store, "a", reserved(store))
    assert ask(store) == Made(job_id="a")


def test_what_the_leader_knows_to_have_ended_is_taken_over_at_once_and_stores_no_job(
    store: Store,
) -> None:
    lead(store)
    first = reserved(store)
    with pytest.raises(KeyInUseError):
        ask(store, in_work={first.holder})
    second = ask(store, OTHER, in_work=())
    assert isinstance(second, Reservation)
    # Should it go on after all.
    with pytest.raises(KeyInUseError):
        submit(store, "first", first)
    submit(store, "second", second)
    assert ask(store, OTHER, in_work=()) == Made(job_id="second")
    assert [job.id for job in store.jobs(limit=10)] == ["second"]


def test_without_a_leader_nobody_knows_who_has_ended(store: Store) -> None:
    reserved(store)
    with pytest.raises(KeyInUseError):
        ask(store, in_work=())


def test_a_reservation_makes_no_second_job(store: Store) -> None:
    reservation = reserved(store)
    submit(store, "a", reservation)
    with pytest.raises(KeyInUseError):
        store.write(lambda connection: complete(connection, reservation, "b"))


def test_keys_are_forgotten_in_the_end(store: Store) -> None:
    submit(store, "a", reserved(store))
    reserved(store, OTHER, after=DAY + timedelta(seconds=1))


def test_of_twenty_equal_requests_at_once_one_makes_the_job(store: Store) -> None:
    together = threading.Barrier(20)

    def send(number: int) -> object:
        together.wait()
        try:
            found = ask(store)
        except KeyInUseError as error:
            return error
        if isinstance(found, Reservation):
            submit(store, f"job{number}", found)
        return found

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    (job,) = store.jobs(limit=30)
    assert sum(isinstance(one, Reservation) for one in answers) == 1
    others = [one for one in answers if not isinstance(one, Reservation)]
    assert all(isinstance(one, KeyInUseError) or one == Made(job_id=job.id) for one in others)
