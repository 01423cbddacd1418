"""A replica that is frozen before the first step of its attempt."""

import os
import signal
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from tests.integration.trainer.conftest import Shards, final_weights, write_job
from tests.integration.trainer.replica_loops import run_attempt
from tests.warm_python import replica_context
from trainer.attempt import watchdog
from trainer.attempt.failures import read_failure
from trainer.attempt.watchdog import Watchdog
from trainer.contract.attempt import AttemptOrder, Reason
from trainer.contract.order_file import read_order, write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.running.local import read_spec
from trainer.running.replica import run_replica

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CPU = torch.device("cpu")
STAGES = ("the loading of its weights", "its first step")


def _replica(rank: int, attempt: AttemptDirectory, stage: str) -> None:
    begin = Watchdog.begin

    def freeze(self: Watchdog, begun: str) -> None:
        begin(self, begun)
        if rank == 1 and begun == stage:
            os.kill(os.getpid(), signal.SIGSTOP)

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{attempt.path}/store", rank=rank, world_size=2
    )
    with (
        patch.object(Watchdog, "begin", freeze),
        patch.multiple(watchdog, SIGN_EVERY_S=0.5, SILENT_S=10.0, SILENT_FLOORS=0.0),
    ):
        run_replica(read_order(attempt), attempt, (CPU, CPU))


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_told_as_a_hang_with_the_stage_and_the_next_attempt_changes_no_bit(
    shards: Shards, tmp_path: Path, stage: str
) -> None:
    optim = {"global_batch_size": 16, "epochs": 1}
    alone = read_spec(write_job(tmp_path, shards, optim=optim))
    scale = alone.scale.model_copy(update={"replicas": 2})
    spec = alone.model_copy(update={"scale": scale})
    run = RunDirectory(tmp_path / "run")
    order = AttemptOrder(job_id="job", attempt=1, spec=spec, accelerator="cpu", resume_from=None)
    attempt = run.attempt(1)
    write_order(attempt, order)
    context = replica_context()
    processes = [context.Process(target=_replica, args=(rank, attempt, stage)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        processes[0].join(120)
        assert processes[0].exitcode == 1
    finally:
        for process in processes:
            process.kill()
            process.join()
    told = read_failure(attempt)
    assert told is not None
    assert told.outcome.reason is Reason.HUNG
    assert "replica 1 gave no sign of life for" in str(told.outcome.message)
    assert f"within {stage}" in str(told.outcome.message)
    again = order.model_copy(update={"attempt": 2})
    assert run_attempt(run.path, again) == [0, 0]
    undisturbed = tmp_path / "undisturbed"
    assert run_attempt(undisturbed, order) == [0, 0]
    assert final_weights(run.path) == final_weights(undisturbed)
