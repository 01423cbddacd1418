"""A leader that dies while a webhook takes its message: the next sends it again, as the same."""

import json
import threading
from pathlib import Path

import pytest

from tests.integration.service.test_two_control_planes import NO_RAY, Answering
from tests.unit.service.conftest import write_manifest
from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.waiting import wait_for


@pytest.mark.timeout(60)
def test_what_was_not_marked_when_the_leader_died_is_sent_again(tmp_path: Path) -> None:
    leader = Answering(
        tmp_path / "state", tmp_path, **NO_RAY, ALEXNET_WEBHOOK_NETWORKS='["127.0.0.0/8"]'
    )
    data = {name: str(write_manifest(tmp_path / name, split=name)) for name in SPLITS}
    is_dead = threading.Event()

    def answer(request: Request) -> Answer:
        if json.loads(request.body)["type"] == "job.queued" and not is_dead.is_set():
            # It has the message; that it does is never heard.
            leader.kill()
            is_dead.set()
        return Answer(204)

    with StubServer(answer) as receiver:
        try:
            leader.start()
            hook = {"url": receiver.url, "events": ["job.queued", "job.cancelled"]}
            made = leader.http.post("/webhooks", json=hook)
            assert made.status_code == 201, made.text
            job_id = leader.submit(preset="small", name="told", data=data)
            assert is_dead.wait(20)
            leader.start()
            leader.http.post(f"/jobs/{job_id}/cancel").raise_for_status()
            wait_for("all to be told", lambda: len(receiver.requests) == 3, timeout_s=20)
            wait_for("it to be marked", lambda: pending(leader) == 0, timeout_s=10)
        finally:
            leader.stop()
    first, again, last = receiver.requests
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert json.loads(last.body)["type"] == "job.cancelled"


SPLITS = ("train", "validation")


def pending(leader: Answering) -> int:
    (webhook,) = leader.http.get("/webhooks").json()["webhooks"]
    return int(webhook["pending"])
