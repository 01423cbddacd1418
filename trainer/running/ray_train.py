"""The one edge to Ray Train: an attempt's replicas as workers, gang-scheduled on their devices.

Ray only runs them. Checkpoints never go through `ray.train.report`, and Ray never retries: a failed
attempt ends, and the next one starts from the last committed checkpoint.
"""

import logging
import os
import signal
from functools import partial
from pathlib import Path

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_devices
from ray.train.v2.api.config import LoggingConfig
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.util.metrics import Gauge

from trainer.attempt.attempt_folder import attempt_at, log_to
from trainer.attempt.failures import cause, read_failure
from trainer.attempt.output import capture_output
from trainer.attempt.publisher import publishing
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.death import death
from trainer.contract.order_file import read_order
from trainer.contract.run_directory import AttemptDirectory
from trainer.devices.memory import RecentOomKills
from trainer.errors import NoDeviceError
from trainer.running.replica import record_failure, run_replica

_log = logging.getLogger(__name__)

# Tests only: compute on the CPU where Ray declares GPUs that do not exist.
COMPUTE_ON_CPU = "ALEXNET_TEST_COMPUTE_ON_CPU"
# Ray's name for a process that watches for nodes about to be taken away.
_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
# Of the cluster; Ray tells it to a driver alone.
_ADDRESS = "RAY_ADDRESS"


def run_on_ray(attempt: AttemptDirectory) -> Outcome:
    """Run an attempt on the Ray cluster this process belongs to, and return its outcome."""
    order = read_order(attempt)
    # Train's driver ends its workers on SIGINT only (ray#40185).
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # The next attempt goes on from the last checkpoint either way: it would only delay the first
    # step, by the seconds that importing Ray takes.
    os.environ.setdefault(_WATCHER, "0")
    # What Train starts asks Ray whether its controller lives: where several Rays run on a machine,
    # it would ask none, or another, which knows of no such controller.
    handed_on = {name: os.environ[name] for name in (_ADDRESS,) if name in os.environ}
    ray.init(logging_level=logging.WARNING, runtime_env={"env_vars": handed_on})
    try:
        with RecentOomKills() as oom_kills:
            result = _trainer(order, attempt).fit()
    except TrainingFailedError as error:
        # The kernel's kills are those of the driver's node; of others Ray's words have to do.
        seen = death(str(error), num_oom_kills=oom_kills.count())
        return cause(read_failure(attempt), seen)
    finally:
        ray.shutdown()
    return Outcome.model_validate(result.return_value)


def _trainer(order: AttemptOrder, attempt: AttemptDirectory) -> TorchTrainer:
    scale = order.spec.scale
    on_gpu = order.accelerator == "gpu"
    gpus = {"GPU": scale.devices_per_replica} if on_gpu else {}
    return TorchTrainer(
        _work,
        train_loop_config={"attempt": str(attempt.path)},
        # gloo everywhere: it carries what lies on the CPU. Gradients on GPUs go by a group of their
        # own (trainer.devices.replicas), so that a worker without its GPUs lives to say so.
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=scale.replicas,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": scale.cpus_per_replica, **gpus},
        ),
        run_config=RunConfig(
            name="attempt",
            storage_path=str(attempt.ray_storage),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


def _work(config: dict[str, str]) -> dict[str, object]:
    """Run one replica in its Ray worker."""
    attempt = attempt_at(Path(config["attempt"]))
    capture_output(attempt)
    log_to(attempt)
    order = read_order(attempt)
    gpu_ids = tuple(ray.get_runtime_context().get_accelerator_ids().get("GPU", ()))
    with record_failure(attempt, ray.train.get_context().get_world_rank()):
        outcome = run_replica(
            order,
            attempt,
            _devices(order),
            gpu_ids=gpu_ids,
            publish=partial(publishing, make_gauge=Gauge),
        )
    return outcome.model_dump(mode="json")


def _devices(order: AttemptOrder) -> tuple[torch.device, torch.device]:
    """Return the devices of the two towers; raises NoDeviceError where a GPU is missing."""
    if order.accelerator == "cpu" or os.environ.get(COMPUTE_ON_CPU) == "1":
        return torch.device("cpu"), torch.device("cpu")
    wanted = order.spec.scale.devices_per_replica
    if not torch.cuda.is_available():
        raise NoDeviceError(
            f"Ray gave this replica {wanted} GPUs, but CUDA finds none on the node; "
            "check the node's driver, or use scale.accelerator = cpu"
        )
    devices = get_devices()
    if len(devices) != wanted:
        raise NoDeviceError(
            f"scale.devices_per_replica: {wanted} GPUs are asked for, torch sees {len(devices)} "
            "of this replica's; set it to 1, or scale.accelerator = cpu"
        )
    return devices[0], devices[-1]
