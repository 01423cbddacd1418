"""Replicas of one loop as processes, which are paused, or die at a chosen moment."""

import itertools
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
import torch.distributed as dist

from tests.acceptance.product import ledger_lines
from tests.unit.trainer.late import answering_late
from tests.waiting import wait_for
from tests.warm_python import replica_context
from trainer.attempt.fence import Fence
from trainer.attempt.ledger import Ledger
from trainer.attempt.setting import Setting
from trainer.attempt.spool import Spool
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import read_order, write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Desired
from trainer.devices import machine
from trainer.devices.replicas import Replicas
from trainer.running.loop import train

CPU = torch.device("cpu")
NUM_REPLICAS = 2

Dies = Literal["write", "sync"]


def run_loops(
    run_dir: Path, *, dies: Dies | None = None, at_step: int = 0, late: bool = False
) -> list[int | None]:
    """Run attempt 1 until all its replicas have ended; return their exit codes, by rank.

    `late`: as if on a device that answers late.

    The second dies where it would enter `at_step` in its ledger, or first force it to disk; but not
    before the first has entered that step, and so needs nothing more to complete it.
    """
    return _run(NUM_REPLICAS, _replica, run_dir, dies, at_step, late)


def run_attempt(
    run_dir: Path,
    order: AttemptOrder,
    *,
    killed_at: int | None = None,
    paused_after: int | None = None,
    before: Callable[[], None] | None = None,
) -> list[int | None]:
    """Run an attempt with the replicas of its spec to its end; return their exit codes, by rank.

    The last replica is killed where it would enter `killed_at` in its ledger; all pause once they
    have taken `paused_after` steps of their own. Each calls `before` first.
    """
    attempt = RunDirectory(run_dir).attempt(order.attempt)
    write_order(attempt, order)
    arguments = (attempt, killed_at, paused_after, before)
    return _run(order.spec.scale.replicas, _ordered_replica, *arguments)


def _run(num_replicas: int, target: Callable[..., None], *arguments: object) -> list[int | None]:
    context = replica_context()
    processes = [
        context.Process(target=target, args=(rank, *arguments)) for rank in range(num_replicas)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(120)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _replica(rank: int, run_dir: Path, dies: Dies | None, at_step: int, late: bool) -> None:
    attempt = RunDirectory(run_dir).attempt(1)

    def die() -> None:
        wait_for(
            f"step {at_step} of rank 0",
            lambda: [line["step"] for line in ledger_lines(attempt.path)][-1:] == [at_step],
            timeout_s=60,
        )
        os._exit(1)

    def write_until(ledger: Ledger, *, step: int, **entry: Any) -> None:
        if step == at_step:
            die()
        write(ledger, step=step, **entry)

    write = Ledger.write
    dying = {"write": write_until, "sync": lambda _: die()}
    with ExitStack() as world:
        if dies and rank == 1:
            world.enter_context(patch.object(Ledger, dies, dying[dies]))
        if late:
            world.enter_context(answering_late())
        _train(rank, attempt, num_replicas=NUM_REPLICAS)


def _ordered_replica(
    rank: int,
    attempt: AttemptDirectory,
    killed_at: int | None,
    paused_after: int | None,
    before: Callable[[], None] | None,
) -> None:
    num_replicas = read_order(attempt).spec.scale.replicas
    # As often as it is asked, which is once a step.
    asked = itertools.count()

    def write_until_killed(ledger: Ledger, *, step: int, **entry: Any) -> None:
        if step == killed_at and rank == num_replicas - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        write(ledger, step=step, **entry)

    def desired() -> Desired:
        return Desired.PAUSE if next(asked) == paused_after else Desired.RUN

    if before is not None:
        before()
    write = Ledger.write
    with patch.object(Ledger, "write", write_until_killed):
        _train(rank, attempt, num_replicas=num_replicas, desired=desired)


def _train(
    rank: int,
    attempt: AttemptDirectory,
    *,
    num_replicas: int,
    desired: Callable[[], Desired] = lambda: Desired.RUN,
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    machine.settle((CPU, CPU), num_threads=1)
    dist.init_process_group(
        "gloo", init_method=f"file://{attempt.path}/store", rank=rank, world_size=num_replicas
    )
    spool = Spool(attempt.events) if rank == 0 else None
    train(
        Setting(
            order=read_order(attempt),
            attempt=attempt,
            replicas=Replicas(CPU),
            devices=(CPU, CPU),
            pid=os.getpid(),
            gpu_ids=(),
            report=(lambda _: None) if spool is None else spool.append,
            desired=desired,
            disowned=lambda: False,
            fence=Fence(attempt, disowned=lambda: False),
        )
    )
    dist.destroy_process_group()
