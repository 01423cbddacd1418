import pytest

from trainer.contract.attempt import Reason
from trainer.contract.death import NO_FOLDER, SECOND_DRIVER, death, driver_death

# As Ray 2.60 says it.
LOST = (
    "The actor died because its node has died. Node Id: 4f: the actor's node was terminated "
    "unexpectedly: health check failed due to missing too many heartbeats",
    "Task failed because the node it was running on is dead or unavailable. Node IP: 10.0.0.1",
)
FULL = (
    "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
    "1 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed",
)
KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory usage, "
    "(2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV"
)


@pytest.mark.parametrize("message", LOST)
def test_a_lost_node_is_told_by_the_words_of_ray(message: str) -> None:
    outcome = death(message, num_oom_kills=1)
    assert outcome.reason is Reason.LOST_NODE
    assert message in str(outcome.message)


@pytest.mark.parametrize("message", FULL)
def test_a_full_memory_is_told_by_the_words_of_ray(message: str) -> None:
    outcome = death(message)
    assert outcome.reason is Reason.OUT_OF_MEMORY
    assert "micro_batch_size" in str(outcome.message)


def test_a_guess_of_ray_is_no_reason_and_what_the_kernel_counted_is() -> None:
    assert death(KILLED).reason is Reason.CRASHED
    outcome = death(KILLED, num_oom_kills=1)
    assert outcome.reason is Reason.OUT_OF_MEMORY
    assert "the kernel" in str(outcome.message)


FROZEN = (
    "Training failed due to worker errors:\n[Rank 1 Error Snippet]:\n"
    "A worker health check has been hanging for 600.41 seconds. Marking the worker as dead.\n"
    "Worker info: Worker(node_id='4f')\n"
    "Set the RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S environment variable to increase the timeout "
    "(current value: 600 seconds)."
)


def test_a_worker_that_does_not_answer_ray_hangs() -> None:
    outcome = death(FROZEN)
    assert outcome.reason is Reason.HUNG
    assert "Rank 1" in str(outcome.message)
    # What killed it tells more.
    assert death(f"{FROZEN}\n{FULL[0]}").reason is Reason.OUT_OF_MEMORY


SECOND = (
    "Job entrypoint command failed with exit code 81, last available logs (truncated to 20,000 "
    "chars):\nattempt 3 has a driver already (process 7 on node-a): Ray was given it twice\n"
)


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [(SECOND_DRIVER, Reason.INTERRUPTED), (NO_FOLDER, Reason.NO_STORAGE)],
)
def test_a_driver_that_touched_nothing_is_told_by_its_exit_code(
    exit_code: int, reason: Reason
) -> None:
    outcome = driver_death(SECOND, exit_code)
    assert outcome.reason is reason
    assert "counts as no failure" in str(outcome.message)
    assert "process 7 on node-a" in str(outcome.message)


@pytest.mark.parametrize("exit_code", [None, 1])
def test_what_a_driver_prints_makes_no_crash_uncounted(exit_code: int | None) -> None:
    assert driver_death(SECOND, exit_code).reason is Reason.CRASHED
    assert driver_death(FULL[0], exit_code).reason is Reason.OUT_OF_MEMORY
