"""Replicas as processes that sum over gloo on loopback, each writing what it saw to a file."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist

from tests.unit.trainer.batches import make_batch, share, whole
from tests.unit.trainer.late import answering_late
from tests.warm_python import replica_context
from trainer.attempt.setting import Votes
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas, Summing
from trainer.errors import NonFiniteLossError, ReplicaGoneError
from trainer.evaluation.evaluate import Member, evaluate
from trainer.evaluation.views import views
from trainer.learning.buckets import Buckets, plan
from trainer.learning.preprocess import Preprocess
from trainer.learning.train_step import TrainStep
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise

CPU = torch.device("cpu")
GLOBAL_BATCH_SIZE = 12
NUM_STEPS = 4
NUM_ROUNDS = 4

# One that is summed where it lies, small ones that share a bucket, one that is channels_last.
SHAPES = ((600, 500), (7,), (12, 5, 3, 3), (1,))
BUCKET_SIZE_BYTES = 8192
DIES_AT_STEP = 2


def run_replicas(num_replicas: int, folder: Path) -> list[dict[str, Any]]:
    """Run so many replicas to their end and return what each saw, by rank."""
    assert _exit_codes(_replica, num_replicas, folder) == [0] * num_replicas
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(num_replicas)]


def run_one_that_dies(num_replicas: int, folder: Path) -> list[str]:
    """Kill the last replica before a step and return what the others, who take it, raised."""
    *others, died = _exit_codes(_dying_replica, num_replicas, folder)
    assert (others, died) == ([0] * (num_replicas - 1), -signal.SIGKILL)
    return [(folder / f"{rank}.txt").read_text() for rank in range(num_replicas - 1)]


def _exit_codes(
    target: Callable[[int, int, Path], None], num_replicas: int, folder: Path
) -> list[int | None]:
    folder.mkdir()
    context = replica_context()
    processes = [
        context.Process(target=target, args=(rank, num_replicas, folder), daemon=True)
        for rank in range(num_replicas)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def gradients_of(rank: int) -> list[torch.Tensor]:
    """Return the gradients that a replica brings."""
    generator = torch.Generator().manual_seed(rank)
    gradients = [torch.randn(shape, generator=generator) for shape in SHAPES]
    gradients[2] = gradients[2].to(memory_format=torch.channels_last)
    return gradients


def train_share(
    replicas: Replicas,
    *,
    before_step: Callable[[int, AlexNet], None] = lambda *_: None,
    resumes_at: int | None = None,
) -> tuple[list[float], AlexNet]:
    """Train the smallest network on this replica's share; return the losses and the network.

    At `resumes_at` all begins anew with a copy of weights and velocity.
    """
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
    network, rule, step = _begin(spec, replicas)
    initialise(network, spec.model, seed=0)
    start = replicas.rank * spec.replica_batch_size
    losses = []
    for number in range(NUM_STEPS):
        if number == resumes_at:
            weights, velocity = network.state_dict(), rule.velocity
            network, rule, step = _begin(spec, replicas)
            network.load_state_dict(weights)
            for name, value in velocity.items():
                rule.velocity[name].copy_(value)
        before_step(number, network)
        # Shares differ in their number of samples, and once only the first replica has any.
        num_real = 4 if number == 1 else GLOBAL_BATCH_SIZE - 1
        batch = make_batch(
            num_images=GLOBAL_BATCH_SIZE, num_real=num_real, step=number, seed=number
        )
        part = share(batch, start, start + spec.replica_batch_size)
        result = step(
            part, learning_rate=0.01, votes=Votes(), own_rate=replicas.rank + 1.5
        ).result()
        # Everyone is told everyone's.
        rates = [rank + 1.5 for rank in range(replicas.size)]
        assert list(result.rates) == (rates if replicas.size > 1 else [])
        losses.append(result.loss)
    return losses, network


def _begin(spec: JobSpec, replicas: Replicas) -> tuple[AlexNet, UpdateRule, TrainStep]:
    network = AlexNet(spec.model, [CPU, CPU])
    rule = UpdateRule(dict(network.named_parameters()), spec.optim, spec.model.recipe)
    mean = np.full((72, 72, 3), 120, dtype=np.float32)
    prepare = Preprocess(mean, None, (CPU, CPU), torch.float32)
    return network, rule, TrainStep(spec, network, rule, prepare, replicas)


def train_with_one_poisoned(replicas: Replicas) -> tuple[str, bool]:
    """Return what a loss that is not finite in the last replica raises in this one.

    And whether the weights are as they were.
    """
    before: list[torch.Tensor] = []
    networks: list[AlexNet] = []

    def before_step(number: int, network: AlexNet) -> None:
        if number != NUM_STEPS - 1:
            return
        if replicas.rank == replicas.size - 1:
            with torch.no_grad():
                network.get_parameter("towers.1.conv4.weight")[0, 0, 0, 0] = torch.inf
        networks.append(network)
        before.extend(weight.detach().clone() for weight in network.parameters())

    try:
        train_share(replicas, before_step=before_step)
    except NonFiniteLossError as error:
        after = [weight.detach() for weight in networks[0].parameters()]
        return str(error), all(map(torch.equal, before, after))
    return "", False


def watch_backward(replicas: Replicas) -> tuple[list[str], list[str]]:
    """Return what happens, in order, in the backward passes of two micro-batches.

    And the digests of the summed gradients, by bucket.
    """
    model = ModelSpec(width=0.125, input_size=64, num_classes=10, init="variance_preserving")
    network = AlexNet(model, [CPU, CPU])
    initialise(network, model, seed=0)
    parameters = dict(network.named_parameters())
    happened: list[str] = []
    for name, parameter in parameters.items():
        parameter.register_post_accumulate_grad_hook(
            lambda _, name=name: happened.append(f"gradient {name}")
        )
    start_sum = replicas.start_sum

    def watched(values: torch.Tensor) -> Summing:
        happened.append(f"sum {values.numel()}")
        return start_sum(values)

    with mock.patch.object(replicas, "start_sum", watched):
        buckets = Buckets(parameters, replicas, bucket_size_bytes=BUCKET_SIZE_BYTES)
        for number in range(2):
            generator = torch.Generator().manual_seed(10 * replicas.rank + number)
            images = 100 * torch.randn(2, 3, 64, 64, generator=generator)
            loss = network((images, images)).logsumexp(1).sum()
            buckets.backward(loss, is_last=number == 1)
            happened.append(f"end {number}")
    by_bucket = plan(parameters, bucket_size_bytes=BUCKET_SIZE_BYTES)
    return happened, [digest(_gradients(parameters[n] for n in names)) for names in by_bucket]


def _gradients(parameters: Iterable[torch.nn.Parameter]) -> Iterator[torch.Tensor]:
    for parameter in parameters:
        assert parameter.grad is not None
        yield parameter.grad


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


def _join(rank: int, num_replicas: int, folder: Path) -> Replicas:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_replicas
    )
    return Replicas(CPU)


def _replica(rank: int, num_replicas: int, folder: Path) -> None:
    replicas = _join(rank, num_replicas, folder)
    gradients = gradients_of(rank)
    parameters = {
        # The last is last in the network, and so first in the backward pass.
        f"conv{number}.weight": torch.nn.Parameter(torch.zeros_like(gradient))
        for number, gradient in enumerate(gradients)
    }
    buckets = Buckets(parameters, replicas, bucket_size_bytes=BUCKET_SIZE_BYTES)
    digests = []
    for _ in range(NUM_ROUNDS):
        for parameter in parameters.values():
            parameter.grad = None
        products = [p * g for p, g in zip(parameters.values(), gradients, strict=True)]
        buckets.backward(sum((p.sum() for p in products), torch.zeros(())), is_last=True)
        digests.append(digest(_gradients(parameters.values())))
    happened, bucket_digests = watch_backward(replicas)
    losses, network = train_share(replicas)
    _, again = train_share(replicas)
    _, resumed = train_share(replicas, resumes_at=2)
    with answering_late():
        late_losses, late_network = train_share(replicas)
        poisoned_late = train_with_one_poisoned(replicas)
    weights = {name: weight.detach().numpy() for name, weight in network.named_parameters()}
    np.savez(folder / f"{rank}.npz", allow_pickle=False, **weights)
    seen = {
        "rank": replicas.rank,
        "sum": replicas.sum(1.0, 10.0**rank, 1e-17 if rank else 1.0),
        "gathered": replicas.gather(("replica", rank)),
        "digests": digests,
        "gradients": [g.flatten()[:5].tolist() for g in _gradients(parameters.values())],
        "happened": happened,
        "bucket_digests": bucket_digests,
        "poisoned": [train_with_one_poisoned(replicas), poisoned_late],
        "losses": losses,
        "late losses": late_losses,
        "late weights": digest(late_network.parameters()),
        "weights": [digest(each.parameters()) for each in (network, again, resumed)],
        "evaluation": evaluate_share(replicas),
    }
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


def _dying_replica(rank: int, num_replicas: int, folder: Path) -> None:
    replicas = _join(rank, num_replicas, folder)

    def before_step(number: int, _: AlexNet) -> None:
        if number == DIES_AT_STEP and rank == num_replicas - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        train_share(replicas, before_step=before_step)
    except ReplicaGoneError as error:
        (folder / f"{rank}.txt").write_text(str(error))
    # As Ray Train does when a worker has failed; gloo's threads must not outlive the interpreter.
    dist.destroy_process_group()
