"""How fast this machine takes a job's steps, measured on images that are made up."""

import time
from collections.abc import Callable

import numpy as np
import torch

from data_shards.feeding.reader import Batch
from data_shards.manifest import RgbPca
from trainer.attempt.setting import Votes
from trainer.contract.model import Record
from trainer.contract.spec import JobSpec
from trainer.devices import machine
from trainer.devices.replicas import Replicas
from trainer.learning.preprocess import Colour, Preprocess
from trainer.learning.train_step import Pending, TrainStep
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise

# The first steps allocate and compile.
_NUM_WARMING = 2
# What is learned does not matter, only that it stays finite.
_RATE = 1e-7
# Crops are cut from images that are larger by so much, as 224 from 256.
_MARGIN = 32
_PCA = RgbPca(
    eigenvalues=(9000.0, 700.0, 200.0),
    eigenvectors=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
)

Devices = tuple[torch.device, torch.device]


class Calibration(Record):
    """Steps of one replica, from uint8 crops to updated weights; loading them is left out."""

    images_per_second: float
    steps: int
    seconds: float


def calibrate(
    spec: JobSpec,
    devices: Devices,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Calibration:
    """Take one replica's steps at the spec's size until `seconds` are over, at least one.

    Raises NonFiniteLossError.
    """
    machine.settle(devices, num_threads=spec.scale.cpus_per_replica)
    step, batch = _step(spec, devices), _batch(spec)
    waiting: list[Pending] = []

    def take() -> None:
        waiting.append(step(batch, learning_rate=_RATE, votes=Votes()))
        # As the loop does: on a GPU a loss is read when the next step is queued.
        if not waiting[-1].is_late or len(waiting) > 1:
            waiting.pop(0).result()

    def finish() -> None:
        while waiting:
            waiting.pop(0).result()

    for _ in range(_NUM_WARMING):
        take()
    finish()
    num_steps, began = 0, clock()
    while num_steps == 0 or clock() - began < seconds:
        take()
        num_steps += 1
    finish()
    elapsed_s = max(clock() - began, 1e-9)
    return Calibration(
        images_per_second=num_steps * spec.replica_batch_size / elapsed_s,
        steps=num_steps,
        seconds=elapsed_s,
    )


def _step(spec: JobSpec, devices: Devices) -> TrainStep:
    network = AlexNet(spec.model, devices)
    initialise(network, spec.model, seed=spec.seed)
    rule = UpdateRule(
        dict(network.named_parameters()), spec.optim, spec.model.recipe, network.working_copies()
    )
    edge = spec.model.input_size + _MARGIN
    prepare = Preprocess(
        np.full((edge, edge, 3), 120, dtype=np.float32),
        Colour(_PCA, spec.augment.colour_strength, spec.model.recipe),
        devices,
        torch.bfloat16 if spec.precision == "bf16" else torch.float32,
        centre_mean=spec.model.recipe == "source2012",
    )
    return TrainStep(spec, network, rule, prepare, Replicas(*devices))


def _batch(spec: JobSpec) -> Batch:
    random = np.random.default_rng(spec.seed)
    size, edge = spec.replica_batch_size, spec.model.input_size
    return Batch(
        step=0,
        epoch=0,
        images=random.integers(0, 256, (size, edge, edge, 3), dtype=np.uint8),
        labels=random.integers(0, spec.model.num_classes, size),
        real=np.ones(size, dtype=bool),
        samples=np.arange(size, dtype=np.int64),
        offsets=random.integers(0, _MARGIN + 1, (size, 2)),
        mirrored=random.integers(0, 2, size).astype(bool),
        colour=random.normal(size=(size, 3)).astype(np.float32),
        corrupt=(),
    )
