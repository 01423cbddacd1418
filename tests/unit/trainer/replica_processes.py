"""Replicas as processes that sum over gloo on loopback, each writing what it saw to a file."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from tests.unit.trainer.batches import make_batch, share, whole
from trainer.contract.spec import JobSpec, ModelSpec
from trainer.evaluate import Member, evaluate
from trainer.initialise import initialise
from trainer.network import AlexNet
from trainer.preprocess import Preprocess
from trainer.replicas import Replicas
from trainer.setting import Votes
from trainer.train_step import TrainStep
from trainer.update_rule import UpdateRule
from trainer.views import views

CPU = torch.device("cpu")
GLOBAL_BATCH_SIZE = 12
NUM_STEPS = 4
NUM_ROUNDS = 4

# One that is summed in place, small ones that share a buffer, one whose memory is channels_last.
SHAPES = ((600, 500), (7,), (12, 5, 3, 3), (1,))


def run_replicas(num_replicas: int, folder: Path) -> list[dict[str, Any]]:
    """Run so many replicas to their end and return what each saw, by rank."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_replica, args=(rank, num_replicas, folder), daemon=True)
        for rank in range(num_replicas)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * num_replicas
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(num_replicas)]


def gradients_of(rank: int) -> list[torch.Tensor]:
    """Return the gradients that a replica brings."""
    generator = torch.Generator().manual_seed(rank)
    gradients = [torch.randn(shape, generator=generator) for shape in SHAPES]
    gradients[2] = gradients[2].to(memory_format=torch.channels_last)
    return gradients


def train_share(replicas: Replicas) -> tuple[list[float], str]:
    """Train the smallest network on this replica's share; return losses and the weights' digest."""
    spec = JobSpec.model_validate(
        {
            "name": "replicas",
            "data": {"train": "nowhere", "validation": "nowhere", "num_streams": GLOBAL_BATCH_SIZE},
            "model": {
                "width": 0.125,
                "input_size": 64,
                "num_classes": 10,
                "init": "variance_preserving",
            },
            "optim": {"global_batch_size": GLOBAL_BATCH_SIZE},
            "scale": {"replicas": replicas.size},
        }
    )
    network = AlexNet(spec.model, [CPU, CPU])
    initialise(network, spec.model, seed=0)
    mean = np.full((72, 72, 3), 120, dtype=np.float32)
    step = TrainStep(
        spec,
        network,
        UpdateRule(dict(network.named_parameters()), spec.optim, spec.model.recipe),
        Preprocess(mean, None, (CPU, CPU), torch.float32),
        replicas,
    )
    start = replicas.rank * spec.replica_batch_size
    losses = []
    for number in range(NUM_STEPS):
        # One place of the last replica is not real: shares differ in their number of samples.
        batch = make_batch(
            num_images=GLOBAL_BATCH_SIZE, num_real=GLOBAL_BATCH_SIZE - 1, step=number, seed=number
        )
        part = share(batch, start, start + spec.replica_batch_size)
        losses.append(step(part, learning_rate=0.01, votes=Votes()).loss)
    return losses, digest(network.parameters())


def evaluate_share(replicas: Replicas) -> list[float]:
    """Show the smallest network ten views of this replica's share; return the means over all."""
    model = ModelSpec(width=0.125, input_size=64, num_classes=10, init="variance_preserving")
    network = AlexNet(model, [CPU, CPU])
    initialise(network, model, seed=0)
    mean = np.full((72, 72, 3), 120, dtype=np.float32)
    member = Member(
        network,
        Preprocess(mean, None, (CPU, CPU), torch.float32),
        views("ten_view", image_size=72, input_size=64),
    )
    share_size = GLOBAL_BATCH_SIZE // replicas.size
    start = replicas.rank * share_size
    # Of the second batch the last replica has padding alone.
    batches = [
        share(
            whole(make_batch(num_images=GLOBAL_BATCH_SIZE, crop_size=72, num_real=real, seed=real)),
            start,
            start + share_size,
        )
        for real in (GLOBAL_BATCH_SIZE, 5)
    ]
    return list(astuple(evaluate(member, batches, replicas, micro_batch_size=share_size)))


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Return the sha256 of the tensors' values, in order."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        sha256.update(tensor.detach().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def _replica(rank: int, num_replicas: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_replicas
    )
    replicas = Replicas(CPU)
    digests, parameters = [], [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for _ in range(NUM_ROUNDS):
        for parameter, gradient in zip(parameters, gradients_of(rank), strict=True):
            parameter.grad = gradient
        replicas.sum_gradients(parameters)
        digests.append(digest(p.grad for p in parameters if p.grad is not None))
    losses, weights = train_share(replicas)
    seen = {
        "rank": replicas.rank,
        "sum": replicas.sum(1.0, 10.0**rank, 1e-17 if rank else 1.0),
        "gathered": replicas.gather(("replica", rank)),
        "digests": digests,
        "gradients": [p.grad.flatten()[:5].tolist() for p in parameters if p.grad is not None],
        "losses": losses,
        "weights": weights,
        "evaluation": evaluate_share(replicas),
    }
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()
