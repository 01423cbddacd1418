import os
import signal
from functools import partial

import psutil
import pytest

from data_shards.errors import EndedError, ShardError, WorkerDiedError, WorkerFailedError
from data_shards.processes.worker_pool import WorkerPool
from data_shards.user_cache import KERNELS_VARIABLE, kernels_folder

# Handlers are pickled by name, so they come from modules that a worker can import.
echo = partial(partial, list)  # answers [1, 2] with 1, then 2
evaluate = partial(partial, map, eval)


def test_answers_come_from_every_worker_until_all_tasks_are_done():
    with WorkerPool(echo, num_processes=2) as pool:
        tasks = [["begin", number] for number in range(9)]
        answers = list(pool.share(tasks, last=int))
    assert sorted(answer for answer in answers if answer != "begin") == list(range(9))
    assert answers.count("begin") == 9


def test_workers_start_without_the_parents_main_module_or_torch():
    with WorkerPool(evaluate, num_processes=1) as pool:
        pool.send(0, ["sorted(__import__('sys').modules)"])
        modules = pool.receive()[1]
    assert not {"torch", "pydantic", "numpy", "pytest"} & set(modules)


def test_an_error_comes_with_its_traceback():
    with WorkerPool(evaluate, num_processes=1) as pool:
        pool.send(0, ["1/0"])
        with pytest.raises(WorkerFailedError, match=r"(?s)Traceback.*ZeroDivisionError"):
            pool.receive()


def test_a_data_error_comes_as_itself():
    with WorkerPool(evaluate, num_processes=1) as pool:
        raising = "__import__('data_shards.errors').errors.ShardError('a.tar', 'is missing')"
        pool.send(0, [f"(_ for _ in ()).throw({raising})"])
        with pytest.raises(ShardError, match=r"a\.tar: is missing"):
            pool.receive()


@pytest.mark.parametrize(
    ("end", "how"),
    [("os.kill(os.getpid(), 9)", "by signal SIGKILL"), ("os._exit(3)", "with exit code 3")],
)
def test_a_death_is_told(end, how):
    with WorkerPool(evaluate, num_processes=2) as pool:
        pool.send(1, [f"exec('import os; {end}')"])
        with pytest.raises(WorkerDiedError, match=f"{pool.pids[1]} ended {how}"):
            pool.receive()


def test_nothing_is_waited_for_once_the_workers_were_ended():
    with WorkerPool(echo, num_processes=2) as pool:
        pool.send(0, [1])
    with pytest.raises(EndedError, match="were ended"):
        pool.receive()
    with pytest.raises(EndedError, match="were ended"):
        pool.send(0, [1])


def test_workers_keep_kernels_where_their_parent_does(monkeypatch, tmp_path):
    # Nobody may make a folder below a file.
    (tmp_path / "file").touch()
    monkeypatch.delenv(KERNELS_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ours = kernels_folder()
    found = "str(__import__('data_shards.user_cache').user_cache.kernels_folder())"
    with WorkerPool(evaluate, num_processes=2) as pool:
        for worker in range(2):
            pool.send(worker, [found])
        assert [pool.receive()[1] for _ in range(2)] == [str(ours)] * 2


def test_sending_to_the_dead_is_told():
    with WorkerPool(echo, num_processes=1) as pool:
        os.kill(pool.pids[0], signal.SIGKILL)
        os.waitid(os.P_PID, pool.pids[0], os.WEXITED | os.WNOWAIT)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            pool.send(0, ["x" * 10_000_000])


def test_ctrl_c_is_the_parents_affair_and_close_ends_busy_workers():
    with WorkerPool(evaluate, num_processes=1) as pool:
        pool.send(0, ["1"])
        pool.receive()
        process = psutil.Process(pool.pids[0])
        process.send_signal(signal.SIGINT)
        pool.send(0, ["2", "__import__('threading').Event().wait()"])
        assert pool.receive() == (0, 2)
    assert not process.is_running()
