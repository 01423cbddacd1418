"""Attempts of the loop in a world that tells them what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer.attempt.fence import Fence
from trainer.attempt.replica_metrics import ReplicaMetrics
from trainer.attempt.setting import Ended, Setting
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.events import AttemptEventData
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.running.loop import train

CPU = torch.device("cpu")


class World:
    """What an attempt tells, and what it is told after a number of steps."""

    def __init__(self) -> None:
        self.events: list[AttemptEventData] = []
        self.metrics = ReplicaMetrics("job", 0)
        self.asked = 0
        self.at: dict[int, Callable[[], Desired]] = {}

    def desired(self) -> Desired:
        self.asked += 1
        return self.at.get(self.asked, lambda: Desired.RUN)()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def attempt_of(
    spec: JobSpec, run_dir: Path, world: World, *, disowned: Callable[[], bool] = lambda: False
) -> Ended:
    """Run the next attempt, from the latest checkpoint if there is one."""
    run = RunDirectory(run_dir)
    folders = list_folders(run)
    attempt = run.attempt(run.newest_attempt() + 1)
    order = AttemptOrder(
        job_id="job",
        attempt=attempt.number,
        spec=spec,
        accelerator="cpu",
        resume_from=str(folders[0].relative_to(run_dir)) if folders else None,
    )
    write_order(attempt, order)
    return train(
        Setting(
            order=order,
            attempt=attempt,
            replicas=Replicas(CPU),
            devices=(CPU, CPU),
            pid=1,
            gpu_ids=(),
            report=world.events.append,
            desired=world.desired,
            disowned=disowned,
            fence=Fence(attempt, disowned=disowned),
            metrics=world.metrics,
        )
    )
