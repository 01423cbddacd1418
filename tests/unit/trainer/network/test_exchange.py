from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.gpu import skip_beside_real_gpus
from trainer.contract.layers import layers
from trainer.contract.model_spec import ModelSpec
from trainer.network import exchange as module
from trainer.network.alexnet import AlexNet
from trainer.network.dropout import DropoutDraw
from trainer.network.exchange import Traffic, exchange
from trainer.network.lrn import _band

CPU = torch.device("cpu")
GPUS = torch.device("cuda", 0), torch.device("cuda", 1)


def _halves() -> tuple[Tensor, Tensor]:
    left, right = torch.arange(6.0).view(2, 3), 10 + torch.arange(6.0).view(2, 3)
    return left.requires_grad_(), right.requires_grad_()


def test_both_read_the_first_towers_half_first() -> None:
    left, right = _halves()
    first, second = exchange((left, right), to=(0, 1), traffic=Traffic())
    assert torch.equal(first, torch.cat([left, right], dim=1))
    assert torch.equal(second, first)


@pytest.mark.parametrize("tower", [0, 1])
def test_one_tower_alone_may_read(tower: Literal[0, 1]) -> None:
    left, right = _halves()
    traffic = Traffic()
    (joined,) = exchange((left, right), to=(tower,), traffic=traffic)
    assert torch.equal(joined, torch.cat([left, right], dim=1))
    assert traffic.forward_bytes == 2 * 3 * 4


def test_gradients_of_both_readers_come_back_to_both_halves() -> None:
    left, right = _halves()
    first, second = exchange((left, right), to=(0, 1), traffic=Traffic())
    (2 * first + 3 * second).sum().backward()
    assert left.grad is not None
    assert right.grad is not None
    assert torch.equal(left.grad, torch.full_like(left, 5))
    assert torch.equal(right.grad, torch.full_like(right, 5))


def test_a_crossing_brings_every_gradient_back_to_its_own_half() -> None:
    left, right = _halves()
    arrived = module._Crossing.apply((CPU, CPU), right, left)
    (2 * arrived[0] + 3 * arrived[1]).sum().backward()
    assert left.grad is not None
    assert right.grad is not None
    assert torch.equal(left.grad, torch.full_like(left, 3))
    assert torch.equal(right.grad, torch.full_like(right, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_many_bytes_go_back_as_came(
    monkeypatch: pytest.MonkeyPatch, small_network: Callable[..., AlexNet], dtype: torch.dtype
) -> None:
    carried: list[int] = []

    def watched(tensors: Any, *how: Any) -> tuple[Tensor, ...]:
        carried.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        return carry(tensors, *how)

    carry = module._carry
    monkeypatch.setattr(module, "_carry", watched)
    # The path that two devices take, on one that is there.
    monkeypatch.setattr(module, "_lie_together", lambda _: False)
    network, images = small_network(), torch.zeros(2, 3, 64, 64, dtype=dtype)
    logits = network((images, images))
    forward = list(carried)
    logits.sum().backward()
    assert sum(forward) == network.traffic.forward_bytes
    assert carried == [*forward, *reversed(forward)]


def test_counts_go_on_over_passes(small_network: Callable[..., AlexNet]) -> None:
    network, images = small_network(), torch.zeros(1, 3, 64, 64)
    network((images, images))
    once = network.traffic.forward_bytes
    network((images, images))
    assert network.traffic.forward_bytes == 2 * once > 0


class CrossDeviceCopies(TorchDispatchMode):
    """Counts the bytes that any operation takes from one device to another, and on which way."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: Counter[str] = Counter()
        self.inside_exchange = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for tensor in tree_leaves(result):
            # The host draws the masks of dropout, for either tower.
            if isinstance(tensor, Tensor) and read - {tensor.device, CPU}:
                where = "exchange" if self.inside_exchange else "elsewhere"
                self.num_bytes[where] += tensor.numel() * tensor.element_size()
        return result


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors have neither streams, nor pinned memory, nor compiled kernels."""
    skip_beside_real_gpus()
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr("trainer.network.lrn.has_triton", lambda: False)
    yield
    _band.cache_clear()


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model", "bytes_per_image"),
    [
        (ModelSpec(), 234_496),
        (ModelSpec(recipe="source2012"), 234_496),
        # conv6 reads both pool5 before fc6 reads as much of conv6.
        (ModelSpec(sixth_conv=True), 234_496 + 2 * 18_432),
        (ModelSpec(removed_layer="conv3"), 234_496),
        (ModelSpec(column_communication=False), 8_192),
        (ModelSpec(towers=1), 0),
    ],
    ids=["paper", "source2012", "sixth", "removed", "apart", "one"],
)
def test_nothing_crosses_between_two_gpus_but_in_the_exchange(
    monkeypatch: pytest.MonkeyPatch, model: ModelSpec, bytes_per_image: int, dtype: torch.dtype
) -> None:
    copies = CrossDeviceCopies()

    def watched(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        copies.inside_exchange = True
        joined = exchange(*args, **kwargs)
        copies.inside_exchange = False
        return joined

    monkeypatch.setattr("trainer.network.alexnet.exchange", watched)
    # Fake tensors compute no values, but raise where an operation mixes devices.
    with FakeTensorMode():
        network = AlexNet(model, GPUS)
        left, right = (torch.empty(2, 3, 224, 224, device=gpu, dtype=dtype) for gpu in GPUS)
        with copies:
            logits = network((left, right), DropoutDraw(seed=0, step=0, first_place=0))
    assert logits.device == GPUS[0]
    assert logits.shape == (2, 1000)
    expected = 2 * bytes_per_image * dtype.itemsize // 4
    assert copies.num_bytes["elsewhere"] == 0
    assert copies.num_bytes["exchange"] == network.traffic.forward_bytes == expected
    assert expected == 2 * dtype.itemsize * sum(layer.crossing_elements for layer in layers(model))


@pytest.mark.usefixtures("without_cuda")
def test_fake_gpus_do_not_mix() -> None:
    with FakeTensorMode(), pytest.raises(Exception, match="found at least two devices"):
        torch.empty(1, device=GPUS[0]) + torch.empty(1, device=GPUS[1])


class Stream:
    """A queue of a device: `past` is all that is done before what is put on it next."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.past: set[str] = set()

    def wait_stream(self, other: "Stream") -> None:
        self.past |= other.past


class Runtime(TorchDispatchMode):
    """Two GPUs' streams: which copy waits for what, and who holds memory for whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.current = {gpu: Stream(gpu) for gpu in GPUS}
        self.computing = dict(self.current)
        self.waited_for: dict[str, set[str]] = {}
        self.held: list[tuple[torch.device, Stream]] = []
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.Stream", Stream)
        monkeypatch.setattr("torch.cuda.stream", self.stream)
        monkeypatch.setattr("torch.cuda.current_stream", self.current.__getitem__)
        monkeypatch.setattr(
            Tensor, "record_stream", lambda tensor, by: self.held.append((tensor.device, by))
        )

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current[stream.device] = self.current[stream.device], stream
        yield
        self.current[stream.device] = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            # As torch orders it: on the source's stream, between barriers with the destination's.
            source, destination = self.current[args[0].device], self.current[result.device]
            source.wait_stream(destination)
            name = f"copy to {result.device.index}"
            self.waited_for[name] = set(source.past)
            source.past.add(name)
            destination.wait_stream(source)
        return result


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    skip_beside_real_gpus()
    module._copying_streams.cache_clear()
    yield Runtime(monkeypatch)
    module._copying_streams.cache_clear()


def test_copies_wait_for_what_they_carry_alone_and_readers_for_the_copies(
    runtime: Runtime,
) -> None:
    left, right = (runtime.computing[gpu] for gpu in GPUS)
    left.past, right.past = {"left half"}, {"right half"}
    with FakeTensorMode(), runtime:
        halves = torch.empty(2, 3, device=GPUS[0]), torch.empty(2, 3, device=GPUS[1])
        exchange(halves, to=(0, 1), traffic=Traffic())
    assert runtime.waited_for == {"copy to 1": {"left half"}, "copy to 0": {"right half"}}
    assert left.past == {"left half", "right half", "copy to 0"}
    assert right.past == {"right half", "left half", "copy to 1"}


def test_memory_is_kept_until_copies_and_readers_are_done(runtime: Runtime) -> None:
    with FakeTensorMode(), runtime:
        halves = torch.empty(2, 3, device=GPUS[0]), torch.empty(2, 3, device=GPUS[1])
        exchange(halves, to=(0,), traffic=Traffic())
    sending, _ = module._copying_streams(GPUS[1], GPUS[0])
    assert runtime.held == [(GPUS[1], sending), (GPUS[0], runtime.computing[GPUS[0]])]


def test_gradients_go_back_as_the_halves_came(runtime: Runtime) -> None:
    left, right = (runtime.computing[gpu] for gpu in GPUS)
    context = SimpleNamespace()
    with FakeTensorMode(), runtime:
        halves = torch.empty(2, 3, device=GPUS[1]), torch.empty(2, 3, device=GPUS[0])
        arrived = module._Crossing.forward(context, GPUS, *halves)
        # Another thread, where nobody has said on which streams the network computes.
        runtime.current = {gpu: Stream(gpu) for gpu in GPUS}
        left.past, right.past = {"gradient on 0"}, {"gradient on 1"}
        for gpu in GPUS:
            for stream in module._copying_streams(gpu, GPUS[1 - gpu.index]):
                cast("Stream", stream).past.clear()
        none, *gradients = module._Crossing.backward(context, *arrived)
    assert none is None
    assert [gradient.device for gradient in gradients if gradient is not None] == [*GPUS[::-1]]
    assert runtime.waited_for == {"copy to 1": {"gradient on 0"}, "copy to 0": {"gradient on 1"}}
    assert "copy to 0" in left.past
    assert "copy to 1" in right.past
