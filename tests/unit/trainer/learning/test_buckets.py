import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.gpu import skip_beside_real_gpus
from trainer.contract.model_spec import ModelSpec
from trainer.devices.replicas import Replicas, Summing
from trainer.learning.buckets import BUCKET_SIZE_BYTES, Buckets, plan
from trainer.network.alexnet import AlexNet

CPU, META = torch.device("cpu"), torch.device("meta")
LAYERS = ("conv1", "conv2", "conv3", "fc6", "fc8")


class _Watched(Replicas):
    """Two replicas, of which the other brings the same gradients; remembers what was summed."""

    def __init__(self, size: int = 2) -> None:
        super().__init__(CPU)
        self.size = size
        self.summed: list[int] = []
        self.num_waited = 0

    def start_sum(self, values: Tensor) -> Summing:
        assert values.is_contiguous()
        self.summed.append(values.numel())
        return _Later(self, values)


class _Later(Summing):
    """Sums when it is waited for: nobody may read before."""

    def __init__(self, replicas: _Watched, values: Tensor) -> None:
        self._replicas, self._values = replicas, values

    def wait(self) -> None:
        self._values.mul_(self._replicas.size)
        self._replicas.num_waited += 1


parameter_sets = st.dictionaries(
    st.tuples(st.integers(0, 1), st.sampled_from(LAYERS), st.sampled_from(["weight", "bias"])).map(
        lambda parts: f"towers.{parts[0]}.{parts[1]}.{parts[2]}"
    ),
    st.tuples(st.integers(1, 40), st.sampled_from([CPU, META])),
    min_size=1,
)


@given(sizes=parameter_sets, limit=st.integers(1, 30), seed=st.randoms())
def test_a_plan_has_every_parameter_once_in_an_order_that_names_alone_decide(
    sizes: dict[str, tuple[int, torch.device]], limit: int, seed: Any
) -> None:
    parameters = {name: torch.empty(size, device=where) for name, (size, where) in sizes.items()}
    buckets = plan(parameters, bucket_size_bytes=4 * limit)
    assert sorted(itertools.chain(*buckets)) == sorted(parameters)
    for names in buckets:
        assert len({parameters[name].device for name in names}) == 1
        assert len(names) == 1 or sum(parameters[name].numel() for name in names) <= limit
    # Later layers before earlier ones, by the last of each bucket.
    last_layers = [names[-1].split(".")[2] for names in buckets]
    assert last_layers == sorted(last_layers, reverse=True)
    shuffled = list(parameters)
    seed.shuffle(shuffled)
    again = plan({name: parameters[name] for name in shuffled}, bucket_size_bytes=4 * limit)
    assert again == buckets


def test_the_papers_network_has_few_buckets_and_copies_little() -> None:
    network = AlexNet(ModelSpec(), [META, META])
    parameters = dict(network.named_parameters())
    buckets = plan(parameters, bucket_size_bytes=BUCKET_SIZE_BYTES)
    copied = sum(parameters[name].numel() for names in buckets if len(names) > 1 for name in names)
    assert buckets[0] == ["fc8.weight"]
    assert len(buckets) <= 10
    assert copied < 0.04 * sum(parameter.numel() for parameter in parameters.values())


def _parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "conv1.bias": (2,),
        "conv1.weight": (2, 3, 2, 2),
        "conv2.weight": (2, 3),
        "fc6.weight": (5, 4),
    }
    return {
        name: torch.nn.Parameter(
            torch.randn(shape, generator=generator).to(
                memory_format=torch.channels_last if len(shape) == 4 else torch.contiguous_format
            )
        )
        for name, shape in shapes.items()
    }


def _loss(parameters: Mapping[str, Tensor], order: tuple[str, ...]) -> Tensor:
    """Return a loss whose gradients arrive in the reverse of an order."""
    loss = torch.ones(())
    for name in order:
        loss = loss + loss * parameters[name].square().sum()
    return loss


ORDERS = list(itertools.permutations(_parameters()))


@given(order=st.sampled_from(ORDERS), num_micro_batches=st.integers(1, 3))
def test_sums_start_in_the_plans_order_whatever_arrives_first(
    order: tuple[str, ...], num_micro_batches: int
) -> None:
    parameters, alone = _parameters(), _parameters()
    arrived: list[str] = []
    for name, parameter in alone.items():
        register: Any = parameter.register_post_accumulate_grad_hook
        register(lambda _, name=name: arrived.append(name))
    replicas = _Watched()
    buckets = Buckets(parameters, replicas, bucket_size_bytes=4 * 32)
    for number in range(num_micro_batches):
        buckets.backward(_loss(parameters, order), is_last=number == num_micro_batches - 1)
        torch.autograd.backward(_loss(alone, order))
        assert bool(replicas.summed) == (number == num_micro_batches - 1)
    assert arrived[: len(order)] == list(reversed(order))
    # fc6, conv2 and the bias of conv1 together; the weight of conv1.
    assert replicas.summed == [28, 24]
    assert replicas.num_waited == 2
    for name, parameter in parameters.items():
        expected = alone[name].grad
        assert parameter.grad is not None
        assert expected is not None
        assert parameter.grad.stride() == parameter.stride()
        torch.testing.assert_close(parameter.grad, 2 * expected, rtol=0, atol=0)


def test_a_large_gradient_is_summed_where_it_lies() -> None:
    parameters = _parameters()
    buckets = Buckets(parameters, _Watched(), bucket_size_bytes=4)
    for _ in range(2):
        for parameter in parameters.values():
            parameter.grad = None
        loss = _loss(parameters, ORDERS[0])
        buckets.backward(loss, is_last=True)
        gradients = torch.autograd.grad(_loss(parameters, ORDERS[0]), list(parameters.values()))
        for parameter, gradient in zip(parameters.values(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_one_replica_has_no_buckets() -> None:
    replicas, parameters = _Watched(size=1), _parameters()
    Buckets(parameters, replicas).backward(_loss(parameters, ORDERS[0]), is_last=True)
    assert replicas.summed == []
    for parameter in parameters.values():
        assert parameter.grad is not None
        assert not parameter._post_accumulate_grad_hooks


def test_on_two_gpus_a_sum_waits_on_its_own_gpu_for_its_own_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_beside_real_gpus()
    gpus = [torch.device("cuda", index) for index in range(2)]
    happened: list[tuple[Any, ...]] = []

    class Stream:
        def __init__(self, gpu: torch.device) -> None:
            self.gpu = gpu

        def record_event(self) -> tuple[torch.device, int]:
            event = (self.gpu, len(happened))
            happened.append(("full", self.gpu))
            return event

        def wait_event(self, event: tuple[torch.device, int]) -> None:
            happened.append(("wait", self.gpu, happened[event[1]]))

    class Watched(_Watched):
        def start_sum(self, values: Tensor) -> Summing:
            happened.append(("sum", values.device))
            return super().start_sum(values)

    monkeypatch.setattr("torch.cuda.current_stream", {gpu: Stream(gpu) for gpu in gpus}.get)
    with FakeTensorMode():
        parameters = {
            f"towers.{tower}.{layer}.weight": torch.nn.Parameter(torch.empty(3, device=gpu))
            for layer in ("fc6", "fc7")
            for tower, gpu in enumerate(gpus)
        }

        def backward(_: Tensor) -> None:
            """Stand in for autograd, which has no fake GPUs: the second one is ahead."""
            for name in sorted(parameters, reverse=True):
                parameter = parameters[name]
                parameter.grad = torch.empty_like(parameter)
                for hook in parameter._post_accumulate_grad_hooks.values():
                    hook(parameter)

        replicas = Watched()
        buckets = Buckets(parameters, replicas, bucket_size_bytes=4)
        monkeypatch.setattr("torch.autograd.backward", backward)
        buckets.backward(torch.empty(()), is_last=True)
    first, second = gpus
    summed = [
        [("wait", gpu, ("full", gpu)), ("sum", gpu)] for gpu in (first, second, first, second)
    ]
    # The second GPU's fc7 and fc6 are full, but wait for the first one's fc7; its fc6 for fc6.
    assert happened == [
        *[("full", second)] * 2,
        ("full", first),
        *summed[0],
        *summed[1],
        ("full", first),
        *summed[2],
        *summed[3],
    ]
    assert replicas.num_waited == 4


def test_a_parameter_without_a_part_in_the_loss_is_a_mistake() -> None:
    parameters = _parameters()
    buckets = Buckets(parameters, _Watched())
    with pytest.raises(AssertionError, match="no part in the loss"):
        buckets.backward(_loss(parameters, ("conv1.bias",)), is_last=True)
