"""Drivers that die before they have a log."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service.cluster.ray_jobs import RayUnreachableError
from service.reconciling.driver_log import HEADING, keep_driver_log, lacks_log
from tests.unit.service.world import World
from trainer.contract.attempt import Reason
from trainer.contract.death import NO_FOLDER, SECOND_DRIVER
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Status

PRINTED = (
    "Traceback (most recent call last):\n  ...\nModuleNotFoundError: No module named 'torch'\n"
)
MESSAGE = f"Job entrypoint command failed with exit code 1, last available logs:\n{PRINTED}"


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path).attempt(1)
    attempt.path.mkdir(parents=True)
    return attempt


def silent() -> str:
    raise RayUnreachableError("no answer")


def test_what_a_driver_printed_is_its_log_by_the_time_its_job_ends(world: World) -> None:
    world.submit(retry={"max_attempts": 1})
    world.tick(2)
    world.ray.printed["a-1"] = PRINTED
    world.ray.end("a-1", MESSAGE)
    world.tick()
    assert world.folder().log.read_text() == HEADING + PRINTED
    job = world.store.job("a")
    assert job.status is Status.FAILED
    assert (job.message or "").rstrip().endswith("ModuleNotFoundError: No module named 'torch'")


def test_while_the_end_cannot_be_stored_ray_is_asked_once_for_a_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def log(submission_id: str) -> str:
        asked.append(submission_id)
        if len(asked) == 1:
            raise RayUnreachableError("busy")
        return ""

    def refuse(*_: object) -> None:
        raise OperationalError("COMMIT", {}, ConnectionError("the store has gone"))

    monkeypatch.setattr(world.ray, "log", log)
    world.submit(retry={"max_attempts": 2, "backoff_s": 1})
    world.tick(2)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "apply", refuse)
        world.ray.end("a-1")
        # What it did not tell it is asked again.
        world.tick(5)
        assert asked == ["a-1", "a-1"]
    world.tick()
    retrying = world.store.job("a")
    assert (retrying.status, asked) == (Status.RETRYING, ["a-1", "a-1"])
    assert retrying.retry_at is not None
    world.now = retrying.retry_at
    world.tick(2)
    world.ray.end("a-2")
    world.tick()
    assert asked == ["a-1", "a-1", "a-2"]


def test_a_log_that_is_there_is_left_alone(world: World) -> None:
    world.submit()
    world.tick(2)
    world.folder().log.write_text("its own\n")
    world.ray.printed["a-1"] = PRINTED
    world.ray.end("a-1", MESSAGE)
    world.tick()
    assert world.folder().log.read_text() == "its own\n"


def test_a_driver_that_lives_is_given_none(world: World) -> None:
    world.submit()
    world.tick()
    world.ray.printed["a-1"] = PRINTED
    world.tick()
    assert not world.folder().log.exists()


@pytest.mark.parametrize("ask", [lambda: "", silent])
def test_where_nothing_is_known_to_be_printed_rays_words_are_kept(
    attempt: AttemptDirectory, ask: Callable[[], str]
) -> None:
    keep_driver_log(attempt, ask, "runtime_env setup failed\ud800")
    assert attempt.log.read_text() == f"{HEADING}runtime_env setup failed?\n"
    assert not lacks_log(attempt)


def test_without_any_words_there_is_no_log(attempt: AttemptDirectory) -> None:
    keep_driver_log(attempt, lambda: "", None)
    assert list(attempt.path.iterdir()) == []


@pytest.mark.parametrize("name", ["driver.log", "driver.json"])
def test_who_has_a_log_or_a_driver_that_opens_one_lacks_none(
    attempt: AttemptDirectory, name: str
) -> None:
    assert lacks_log(attempt)
    (attempt.path / name).touch()
    assert not lacks_log(attempt)


def test_a_log_that_came_meanwhile_is_not_replaced(attempt: AttemptDirectory) -> None:
    def ask() -> str:
        attempt.log.write_text("its own\n")
        return PRINTED

    keep_driver_log(attempt, ask, MESSAGE)
    assert attempt.log.read_text() == "its own\n"


def test_the_end_of_a_second_driver_leaves_the_log_to_the_first(world: World) -> None:
    world.submit()
    world.tick(2)
    # The first has claimed the attempt, and is about to open its log.
    world.folder().driver.write_text("{}")
    world.ray.printed["a-1"] = "attempt 1 has a driver already\n"
    world.ray.end("a-1", "failed", exit_code=SECOND_DRIVER)
    world.tick()
    assert not world.folder().log.exists()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )


@pytest.mark.parametrize("exit_code", [SECOND_DRIVER, NO_FOLDER])
def test_drivers_that_touch_nothing_are_followed_ever_later_and_count_as_no_failures(
    world: World, exit_code: int
) -> None:
    world.submit(retry={"backoff_s": 10})
    waits = []
    for number in (1, 2, 3):
        world.tick(2)
        world.ray.end(f"a-{number}", "failed", exit_code=exit_code)
        world.tick()
        job = world.store.job("a")
        assert job.retry_at is not None
        waits.append((job.retry_at - world.now).total_seconds())
        assert (job.status, job.num_failures) == (Status.RETRYING, 0)
        world.now = job.retry_at
    # Each is longer by up to a tenth.
    assert [wait // 10 for wait in waits] == [1, 2, 4]


def test_what_ray_says_beyond_what_a_driver_printed_is_kept_too(attempt: AttemptDirectory) -> None:
    message = "Job supervisor actor died: its node is gone"
    keep_driver_log(attempt, lambda: PRINTED, message)
    assert attempt.log.read_text() == f"{HEADING}{PRINTED}{message}\n"


def test_a_folder_that_cannot_be_used_holds_nothing_up(attempt: AttemptDirectory) -> None:
    attempt.path.rmdir()
    keep_driver_log(attempt, lambda: PRINTED, None)
    attempt.path.write_text("a file in its place")
    assert not lacks_log(attempt)
    keep_driver_log(attempt, lambda: PRINTED, None)
