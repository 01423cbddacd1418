"""No host waits for a GPU within a step: on fake GPUs, and on a real one where one is at hand."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from data_shards.manifest import RgbPca
from tests.gpu import needs_gpu, skip_beside_real_gpus
from tests.unit.trainer.batches import make_batch, whole
from trainer.attempt.setting import Votes
from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.model_spec import Recipe
from trainer.contract.spec import JobSpec
from trainer.devices.phase_marks import PhaseMarks
from trainer.devices.replicas import Replicas
from trainer.evaluation.classes import Guesses
from trainer.evaluation.evaluate import Member, tally
from trainer.evaluation.views import views
from trainer.learning.buckets import Buckets
from trainer.learning.preprocess import Colour, Preprocess
from trainer.learning.train_step import TrainStep, _loss_sum
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.dropout import DropoutDraw
from trainer.network.initialise import initialise
from trainer.network.lrn import _band

CPU = torch.device("cpu")
GPUS = torch.device("cuda", 0), torch.device("cuda", 1)
MEAN = np.full((72, 72, 3), 120, dtype=np.float32)
PCA = RgbPca(eigenvalues=(9000, 700, 200), eigenvectors=((1, 0, 0), (0, 1, 0), (0, 0, 1)))


class HostWaitsError(Exception):
    """A host would wait for a GPU."""


class NoHostWaits(TorchDispatchMode):
    """Raises HostWaitsError at each operation for which a host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.num_answers = 0
        """Numbers on their way to the host."""
        self.updated_on: list[set[torch.device]] = []
        """Where what an update reads lies, of each."""
        self._pinned: list[Tensor] = []

    def pin(self, tensor: Tensor) -> Tensor:
        self._pinned.append(tensor.clone())
        return self._pinned[-1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation, read = str(func), _devices((args, kwargs))
        if operation == "aten._fused_sgd_.default":
            # It has no fake.
            self.updated_on.append(read)
            return None
        if operation in ("aten._local_scalar_dense.default", "aten.nonzero.default"):
            raise HostWaitsError(operation)
        if operation == "aten.index.Tensor" and any(index.dtype == torch.bool for index in args[1]):
            # A mask is searched for what it keeps, to know how much that is.
            raise HostWaitsError(operation)
        result = func(*args, **(kwargs or {}))
        if {device.type for device in read | _devices(result)} == {"cpu", "cuda"}:
            self._check_copy(operation, args, kwargs or {})
        return result

    def _check_copy(self, operation: str, args: Any, kwargs: dict[str, Any]) -> None:
        if operation == "aten.copy_.default" and args[1].is_cuda and args[2:] == (True,):
            self.num_answers += args[1].numel()
        elif not (
            operation == "aten._to_copy.default"
            and kwargs.get("non_blocking")
            and any(args[0] is pinned for pinned in self._pinned)
        ):
            raise HostWaitsError(f"{operation} between host and GPU")


def _devices(tree: object) -> set[torch.device]:
    return {leaf.device for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


class Alone(Replicas):
    """Sums without a tensor, which would be fake."""

    def sum(self, *values: float) -> list[float]:
        return [float(value) for value in values]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[NoHostWaits]:
    """Fake tensors have no streams, no pinned memory and no compiled kernels."""
    skip_beside_real_gpus()
    waits, empty = NoHostWaits(), torch.empty
    monkeypatch.setattr("torch.cuda.current_stream", lambda _: mock.MagicMock())
    monkeypatch.setattr("torch.cuda.Event", mock.MagicMock())
    monkeypatch.setattr("trainer.network.lrn.has_triton", lambda: False)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: waits.pin(tensor))  # noqa: PLW0108

    def unpinned(*size: int, pin_memory: bool = False, **how: Any) -> Tensor:
        return empty(*size, **how)

    monkeypatch.setattr(torch, "empty", unpinned)
    with FakeTensorMode():
        yield waits
    _band.cache_clear()


@pytest.fixture
def job(job: Callable[..., JobSpec]) -> JobSpec:
    return job(optim={"global_batch_size": 8, "micro_batch_size": 4})


def fake_step(
    monkeypatch: pytest.MonkeyPatch,
    job: JobSpec,
    recipe: Recipe,
    devices: tuple[torch.device, torch.device],
    stopwatch: Stopwatch | None = None,
) -> TrainStep:
    """Return a step of one replica on fake GPUs, all of it but what needs a real one."""
    network = AlexNet(job.model, devices)
    parameters = dict(network.named_parameters())

    def backward(_: Tensor) -> None:
        # The real one needs the GPUs' own threads.
        for parameter in parameters.values():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr("torch.autograd.backward", backward)
    rule = UpdateRule(parameters, job.optim, recipe)
    prepare = Preprocess(
        MEAN,
        Colour(PCA, 0.1, recipe),
        devices,
        torch.bfloat16,
        centre_mean=recipe == "source2012",
    )
    return TrainStep(job, network, rule, prepare, Alone(), stopwatch=stopwatch)


@pytest.mark.parametrize("devices", [GPUS, (GPUS[0], GPUS[0])], ids=["two", "one"])
@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_a_step_is_queued_without_a_wait(
    monkeypatch: pytest.MonkeyPatch,
    waits: NoHostWaits,
    job: JobSpec,
    recipe: Recipe,
    devices: tuple[torch.device, torch.device],
) -> None:
    step = fake_step(monkeypatch, job, recipe, devices)
    batch = make_batch(num_real=7)
    with waits:
        pending = step(batch, learning_rate=0.01, votes=Votes())
    # Its loss, and nothing else.
    assert waits.num_answers == 1
    assert pending.is_late
    assert pending.known.num_samples == 7
    # Each GPU reads what lies on itself alone; either recipe's biases may have other rates.
    assert {frozenset(update) for update in waits.updated_on} == {
        frozenset({device}) for device in devices
    }


def test_a_gpu_tells_its_phases_late_and_once_between_two_readings(
    monkeypatch: pytest.MonkeyPatch, waits: NoHostWaits, job: JobSpec
) -> None:
    marked: list[mock.Mock] = []

    def mark() -> mock.Mock:
        marked.append(mock.Mock(elapsed_time=lambda _: 10.0))
        return marked[-1]

    monkeypatch.setattr("trainer.learning.train_step.marks_on", lambda _: PhaseMarks(mark))
    stopwatch = Stopwatch()
    step = fake_step(monkeypatch, job, "paper", GPUS, stopwatch)

    def answer() -> None:
        pending = step(make_batch(), learning_rate=0.01, votes=Votes())
        monkeypatch.setattr(pending._loss_sum, "read", lambda: 1.0)
        pending.result()

    with waits:
        answer()
        num_marks = len(marked)
        answer()
        assert len(marked) == num_marks
        seconds = stopwatch.read()
        answer()
        assert len(marked) == 2 * num_marks
    of_gpu = {"transfer", "forward", "exchange", "backward", "all_reduce", "optimizer"}
    assert seconds.keys() == {*of_gpu, "other"}
    # Each micro-batch has four exchanges and one backward pass, here of the same length.
    assert seconds["exchange"] == pytest.approx(4 * seconds["backward"])


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_no_gradient_needs_a_number_on_the_host(
    monkeypatch: pytest.MonkeyPatch, small_network: Callable[..., AlexNet], recipe: Recipe
) -> None:
    # On the CPU, by the operations that a GPU runs where it does not compile its own.
    monkeypatch.setattr("trainer.network.early_layer.load", lambda _: None)
    network = small_network(recipe=recipe)
    buckets = Buckets(dict(network.named_parameters()), Replicas(CPU))
    images, labels = torch.zeros(2, 3, 64, 64, dtype=torch.bfloat16), torch.tensor([0, 1])
    with NoHostWaits():
        for is_last in (False, True):
            logits = network((images, images), DropoutDraw(0, 0, 0))
            buckets.backward(_loss_sum(logits, labels, torch.ones(2)), is_last=is_last)
    assert all(parameter.grad is not None for parameter in network.parameters())


@needs_gpu
def test_a_real_gpu_queues_a_step_without_a_wait(job: JobSpec) -> None:
    gpu = torch.device("cuda", torch.cuda.current_device())
    network = AlexNet(job.model, (gpu, gpu))
    initialise(network, job.model, seed=0)
    rule = UpdateRule(dict(network.named_parameters()), job.optim, "paper")
    prepare = Preprocess(MEAN, Colour(PCA, 0.1, "paper"), (gpu, gpu), torch.bfloat16)
    step = TrainStep(job, network, rule, prepare, Replicas(gpu))
    # The first compiles kernels, and allocates.
    losses = [step(make_batch(), learning_rate=0.01, votes=Votes()).result().loss]
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = step(make_batch(step=1), learning_rate=0.01, votes=Votes())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    losses.append(pending.result().loss)
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]


def test_a_batch_is_evaluated_without_a_wait(waits: NoHostWaits, job: JobSpec) -> None:
    network = AlexNet(job.model, GPUS)
    member = Member(
        network,
        Preprocess(MEAN, None, GPUS, torch.bfloat16),
        # Mirrored ones are cut by tensors of the host.
        views("ten_view", image_size=72, input_size=64)[:5],
    )
    batch = whole(make_batch(crop_size=72, num_real=7))
    with waits:
        sums = tally([member], batch, micro_batch_size=4, guesses=Guesses())
    assert (sums.device, waits.num_answers) == (GPUS[0], 0)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: torch.zeros(3).to(x.device),
        lambda x: torch.zeros(3).to(x.device, non_blocking=True),
        lambda x: x.copy_(torch.zeros(3)),
    ],
)
def test_what_waits_is_found(waits: NoHostWaits, wait: Callable[[Tensor], object]) -> None:
    on_gpu = torch.zeros(3, device=GPUS[0])
    with waits, pytest.raises(HostWaitsError):
        wait(on_gpu)
