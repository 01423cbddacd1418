"""Replicas of one loop as processes; the second may die before its ledger holds a step."""

import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
import torch.distributed as dist

from tests.acceptance.product import ledger_lines, wait_for
from tests.unit.trainer.late import answering_late
from trainer import machine
from trainer.contract.order_file import read_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Desired
from trainer.fence import Fence
from trainer.ledger import Ledger
from trainer.loop import train
from trainer.replicas import Replicas
from trainer.setting import Setting

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
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_replica, args=(rank, run_dir, dies, at_step, late))
        for rank in range(NUM_REPLICAS)
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
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    machine.settle((CPU, CPU), num_threads=1)
    dist.init_process_group(
        "gloo", init_method=f"file://{run_dir}/store", rank=rank, world_size=NUM_REPLICAS
    )
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
        train(
            Setting(
                order=read_order(attempt),
                attempt=attempt,
                replicas=Replicas(CPU),
                devices=(CPU, CPU),
                pid=os.getpid(),
                gpu_ids=(),
                report=lambda _: None,
                desired=lambda: Desired.RUN,
                disowned=lambda: False,
                fence=Fence(attempt, disowned=lambda: False),
            )
        )
    dist.destroy_process_group()
