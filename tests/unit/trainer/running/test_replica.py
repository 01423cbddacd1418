import errno
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import httpx
import pytest
import torch

from data_shards.errors import ShardError, StorageDeniedError, StorageError
from data_shards.storage.node_cache import node_cache
from tests.unit.trainer.runs import add_attempt
from tests.waiting import wait_for
from trainer.attempt import attempt_folder, failures, watchdog
from trainer.attempt.pulse import Pulse, read_pulses, write_pulse
from trainer.attempt.setting import Ended, Setting
from trainer.contract.attempt import RETRYABLE, Outcome, Reason
from trainer.contract.durable import DiskFullError
from trainer.contract.events import EventBatch, EventReply
from trainer.contract.order_file import read_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError
from trainer.pictures.painter import Painter
from trainer.running import replica
from trainer.running.replica import (
    _open_reporter,
    _open_watchdog,
    failure,
    record_failure,
    record_outcome,
    run_replica,
)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path / "run"))


def _fill(path: Path, _content: bytes) -> None:
    raise DiskFullError(errno.ENOSPC, "No space left on device", str(path))


def test_a_failure_that_cannot_be_written_does_not_hide_what_failed(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(failures, "write_whole", _fill)
    with pytest.raises(BadDataError, match="shard x"), record_failure(attempt, rank=2):
        raise BadDataError("shard x")
    assert f"could not write its failure: {attempt.failure(2)} cannot be written" in caplog.text


def test_an_outcome_that_cannot_be_written_is_said_and_returned(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = Outcome(outcome="failed", reason=Reason.BAD_DATA, message="shard x")
    monkeypatch.setattr(attempt_folder, "write_whole", _fill)
    assert record_outcome(attempt, outcome) == outcome
    assert "the outcome could not be written" in caplog.text
    monkeypatch.undo()
    assert record_outcome(attempt, outcome) == outcome
    assert attempt.outcome.is_file()


def test_a_full_disk_is_a_foreseen_failure() -> None:
    error = DiskFullError(errno.ENOSPC, "No space left on device", "run/attempts/0001/events.jsonl")
    assert failure(error) == Outcome(
        outcome="failed",
        reason=Reason.NO_STORAGE,
        message="run/attempts/0001/events.jsonl cannot be written: No space left on device; "
        "free space there, then resume",
    )


def test_what_an_operator_mends_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", "64 GB")
    with pytest.raises(StorageError) as misset:
        node_cache()
    for error in (misset.value, StorageError("s3://a", "needs s3fs", "install it")):
        assert failure(error).reason is Reason.NO_STORAGE
    assert Reason.NO_STORAGE in RETRYABLE
    denied = failure(StorageDeniedError("s3://a", "cannot be read", "mend the credentials"))
    assert denied.reason is Reason.NO_ACCESS
    assert Reason.NO_ACCESS in RETRYABLE
    assert failure(ShardError("a.tar", "is missing")).reason is Reason.BAD_DATA


def test_the_thread_that_posts_closes_what_it_posts_by(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_by: list[str] = []

    class Client(httpx.Client):
        def __init__(self, *, trust_env: bool) -> None:
            unavailable = httpx.MockTransport(lambda _: httpx.Response(503))
            super().__init__(trust_env=trust_env, transport=unavailable)

        def close(self) -> None:
            closed_by.append(threading.current_thread().name)
            super().close()

    monkeypatch.setattr(httpx, "Client", Client)
    order = read_order(attempt).model_copy(update={"control_plane_url": "http://127.0.0.1:9"})
    with ExitStack() as stack:
        _open_reporter(order, attempt, lambda _: None, stack)
    assert closed_by == ["reporter"]


class Rank:
    """Stands for a replica among two."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_0_judges_by_what_the_others_tell_it(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(watchdog, "POLL_S", 0.001)
    monkeypatch.setattr(watchdog, "SIGN_EVERY_S", 0.0)
    attempt.events.touch()
    os.utime(attempt.events, (0, 0))
    write_pulse(attempt, 1, Pulse(beat=10, waits_for_data=True))
    heard: list[Mapping[int, Pulse]] = []
    monkeypatch.setattr(watchdog.Watchdog, "hear", lambda _, others: heard.append(others))
    with _open_watchdog(read_order(attempt), attempt, cast("Replicas", Rank(rank))) as opened:
        opened.note_step()
        if rank == 0:
            wait_for("a sign of life", lambda: attempt.events.stat().st_mtime > 0, timeout_s=20)
            assert heard[0] == {1: Pulse(beat=10, waits_for_data=True)}
        else:
            # The watchdog's thread may tell before the step is noted too.
            wait_for(
                "a pulse that tells of the step",
                lambda: read_pulses(attempt, 2).get(1, Pulse()).moves == 1,
                timeout_s=20,
            )
            assert attempt.events.stat().st_mtime == 0
            assert not any(heard)


class Slow(Painter):
    """Draws until somebody wants otherwise."""

    def finish(
        self, patience_s: float = 20, *, is_in_the_way: Callable[[], bool] = lambda: False
    ) -> None:
        wait_for("a wish", is_in_the_way, timeout_s=patience_s)


def test_a_job_that_is_cancelled_while_its_last_step_is_drawn_has_succeeded(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_work(setting: Setting) -> Ended:
        assert setting.desired() is Desired.RUN
        begun.set()
        return Ended("succeeded", 7)

    def answer(batch: EventBatch) -> EventReply:
        # The cancel comes when the report is written.
        begun.wait(20)
        last = batch.events[-1].number if batch.events else 0
        return EventReply(stored_through=last, desired=Desired.CANCEL)

    begun = threading.Event()
    monkeypatch.setattr(replica, "_WORK", {"train": finish_work})
    monkeypatch.setattr(replica, "Painter", Slow)
    monkeypatch.setattr(replica, "post_to", lambda *_: answer)
    monkeypatch.setattr("trainer.devices.machine.settle", lambda *_, **__: None)
    order = read_order(attempt).model_copy(update={"control_plane_url": "http://127.0.0.1:9"})
    cpu = torch.device("cpu")
    assert run_replica(order, attempt, (cpu, cpu)) == Outcome(outcome="succeeded", step=7)
