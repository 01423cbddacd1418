from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import select

from service.control_plane import ControlPlane
from service.jobs.records import AttemptRecord
from service.metrics import registry
from service.problems import ProblemType
from service.reconciling.starter import sha256_of_token
from service.store.tables import points
from tests.unit.service.conftest import job_in, progress
from trainer.contract.events import CorruptReasonName, SamplesSkipped
from trainer.contract.problem import ATTEMPT_DISOWNED, PROBLEM_MEDIA_TYPE
from trainer.contract.status import Desired, Status

BEARER = {"Authorization": "Bearer the token"}


def begin(plane: ControlPlane, job_id: str, status: Status = Status.RUNNING) -> str:
    job_in(plane.store, status, job_id, token_sha256=sha256_of_token("the token"))
    return f"/jobs/{job_id}/attempts/1/events"


def batch(*numbers: int) -> dict[str, Any]:
    at = "2026-01-01T12:00:00Z"
    return {
        "events": [
            {"number": number, "at": at, "data": progress(number).model_dump(mode="json")}
            for number in numbers
        ]
    }


def test_what_is_sent_again_or_out_of_order_is_stored_once_in_order(
    http: httpx.Client, plane: ControlPlane
) -> None:
    path = begin(plane, "order")
    for numbers, through in (
        ((1, 2), 2),
        ((2, 1, 3), 3),
        ((5, 6), 3),  # 4 is missing: to be sent again from there
        ((), 3),
        ((6, 4, 5), 6),
    ):
        answer = http.post(path, json=batch(*numbers), headers=BEARER)
        assert answer.status_code == 200
        assert answer.json() == {"stored_through": through, "desired": "run"}
    query = select(points.c.step).where(points.c.job_id == "order").order_by(points.c.step)
    steps = plane.store.read(lambda connection: connection.execute(query).scalars().all())
    assert steps == list(range(1, 7))
    assert plane.store.job("order").progress == progress(6)


def test_skipped_samples_are_counted_once_by_reason_however_often_they_are_sent(
    http: httpx.Client, plane: ControlPlane
) -> None:
    def counted() -> dict[str, float]:
        reasons = get_args(CorruptReasonName)
        name = "alexnet_data_skipped_samples_total"
        return {
            reason: registry.get_sample_value(name, {"reason": reason}) or 0.0 for reason in reasons
        }

    path = begin(plane, "skips")
    before = counted()
    skipped = SamplesSkipped(
        step=3,
        samples=("a.tar:1",),
        reason="end of JPEG",
        by_reason={"broken": 3, "not_an_image": 1},
        total=4,
    )
    sent = batch(1, 2, 4)
    for event in sent["events"]:
        event["data"] = skipped.model_dump(mode="json")
    for _ in range(2):
        # The third leaves a gap, and is not stored.
        assert http.post(path, json=sent, headers=BEARER).json()["stored_through"] == 2
    grown = {reason: count - before[reason] for reason, count in counted().items()}
    assert {reason: count for reason, count in grown.items() if count} == {
        "broken": 6,
        "not_an_image": 2,
    }


@pytest.mark.parametrize("desired", [Desired.PAUSE, Desired.CANCEL])
def test_the_reply_carries_what_is_wanted(
    http: httpx.Client, plane: ControlPlane, desired: Desired
) -> None:
    path = begin(plane, f"told{desired}")
    plane.store.ask(f"told{desired}", desired)
    assert http.post(path, json=batch(), headers=BEARER).json()["desired"] == desired


def test_only_what_a_status_may_follow_from_has_the_reconciler_look(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, running = begin(plane, "starting", Status.STARTING), begin(plane, "running")
    finished = batch(2)
    finished["events"][0]["data"] = {"kind": "finished", "outcome": "paused", "step": 1}
    looks: list[str] = []
    for path, sent, num_looks in (
        (starting, batch(1), 1),
        (running, batch(), 0),
        (running, batch(1), 0),
        (running, finished, 1),
    ):
        looks.clear()
        monkeypatch.setattr(plane, "wake", lambda: looks.append("now"))
        http.post(path, json=sent, headers=BEARER).raise_for_status()
        assert len(looks) == num_looks, (path, sent)


def test_only_the_attempts_own_token_is_taken(http: httpx.Client, plane: ControlPlane) -> None:
    path = begin(plane, "token")
    answer = http.post(path, json=batch(1))
    assert answer.status_code == 401
    assert answer.json()["type"] == ProblemType.NO_TOKEN
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    for authorization in ("Bearer another", "Bearer " + sha256_of_token("the token")):
        wrong = http.post(path, json=batch(1), headers={"Authorization": authorization})
        assert wrong.status_code == 403
        assert wrong.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
        assert wrong.json()["type"] == ATTEMPT_DISOWNED
    assert (
        http.post(path, json=batch(1), headers={"Authorization": "Basic eDp5"}).status_code == 401
    )
    # Nor is it anybody else's.
    other = begin(plane, "other").replace("/1/", "/2/")
    assert http.post(other, json=batch(1), headers=BEARER).status_code == 403
    unknown = "/jobs/unknown/attempts/1/events"
    assert http.post(unknown, json=batch(1), headers=BEARER).status_code == 403
    assert plane.store.attempt("token", 1).events_through == 0


def test_before_it_is_told_its_token_an_attempt_cannot_report(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.STARTING, "untold")
    path = "/jobs/untold/attempts/1/events"
    assert http.post(path, json=batch(1), headers=BEARER).status_code == 403


@pytest.mark.parametrize("status", [Status.RETRYING, Status.PAUSED, Status.CANCELLED])
def test_an_attempt_that_is_over_is_told_to_stop(
    http: httpx.Client, plane: ControlPlane, status: Status
) -> None:
    path = begin(plane, f"over{status}", status)
    answer = http.post(path, json=batch(1), headers=BEARER)
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    assert answer.json()["type"] == ATTEMPT_DISOWNED
    assert answer.json()["detail"].endswith("is no longer current: stop")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"events": [{"number": 0}]},
        {"events": [{"number": 1, "at": "now", "data": {"kind": "progress"}}]},
        {"events": [{"number": 1, "at": "2026-01-01T12:00:00Z", "data": {"kind": "status"}}]},
        {"events": [], "status": "SUCCEEDED"},
        batch(*range(1, 502)),
    ],
    ids=["empty", "number", "time", "kind", "status", "many"],
)
def test_what_is_no_batch_is_refused(
    http: httpx.Client, plane: ControlPlane, body: dict[str, Any]
) -> None:
    path = begin(plane, f"malformed{id(body)}")
    answer = http.post(path, json=body, headers=BEARER)
    assert answer.status_code == 422
    assert all(error["field"] and error["message"] for error in answer.json()["errors"])


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"step": 2**31}, "events.0.data.progress.step"),
        ({"step": -1}, "events.0.data.progress.step"),
        ({"planned_steps": 2**63}, "events.0.data.progress.planned_steps"),
    ],
)
def test_a_number_that_the_store_cannot_hold_is_refused_by_its_field(
    http: httpx.Client, plane: ControlPlane, data: dict[str, int], field: str
) -> None:
    path = begin(plane, f"unbounded{len(field)}{data.get('step')}")
    body = batch(1)
    body["events"][0]["data"] |= data
    answer = http.post(path, json=body, headers=BEARER)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field


def test_whoever_has_not_the_token_is_not_told_what_is_wrong_with_a_report(
    http: httpx.Client, plane: ControlPlane
) -> None:
    path = begin(plane, "unread")
    wrong = {"events": [0] * 1000}
    assert http.post(path, json=wrong).status_code == 401
    assert http.post(path, json=wrong, headers={"Authorization": "Bearer guess"}).status_code == 403
    assert http.post(path, json=wrong, headers=BEARER).status_code == 422


@pytest.mark.parametrize("is_known", [False, True])
def test_a_report_is_answered_alike_whether_its_token_is_known_or_not(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    path = begin(plane, f"alike{is_known}")
    if is_known:
        http.post(path, json=batch(), headers=BEARER).raise_for_status()
    looked_up: list[str] = []
    attempt = plane.store.attempt

    def look_up(job_id: str, number: int) -> AttemptRecord:
        looked_up.append(job_id)
        return attempt(job_id, number)

    monkeypatch.setattr(plane.store, "attempt", look_up)
    taken = http.post(path, json=batch(1, 2), headers=BEARER)
    assert (taken.status_code, taken.json()) == (200, {"stored_through": 2, "desired": "run"})
    assert taken.headers["Content-Type"] == "application/json"
    assert bool(looked_up) is not is_known
    wrong = http.post(path, content=b"{", headers=BEARER | {"Content-Type": "application/json"})
    assert wrong.status_code == 422
    assert "JSON" in wrong.json()["errors"][0]["message"]
    # It was refused: the next one is looked at as the first is.
    assert http.post(path, json=batch(3), headers=BEARER).json()["stored_through"] == 3
    assert http.post(path, json=batch(4), headers={"Authorization": "Bearer x"}).status_code == 403


def test_a_report_that_has_no_turn_is_to_be_sent_again(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(plane, "later")
    assert http.post(path, json=batch(1), headers=BEARER).status_code == 200
    monkeypatch.setattr("service.store.group_commit.MAX_WAITING", 0)
    # Past FastAPI, and through it.
    for headers in (BEARER, BEARER | {"Content-Type": "application/json; charset=utf-8"}):
        answer = http.post(path, json=batch(2), headers=headers)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert answer.json()["type"] == ProblemType.STORE_UNAVAILABLE
        assert "not written: 0 wait before it" in answer.json()["detail"]
