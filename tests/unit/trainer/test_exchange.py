import pytest
import torch
from torch import Tensor

from trainer.contract.spec import ModelSpec
from trainer.exchange import Traffic, exchange
from trainer.layers import layers
from trainer.network import AlexNet


def _halves() -> tuple[Tensor, Tensor]:
    left, right = torch.arange(6.0).view(2, 3), 10 + torch.arange(6.0).view(2, 3)
    return left.requires_grad_(), right.requires_grad_()


def test_both_read_the_first_towers_half_first() -> None:
    left, right = _halves()
    first, second = exchange((left, right), to=(0, 1), traffic=Traffic())
    assert torch.equal(first, torch.cat([left, right], dim=1))
    assert torch.equal(second, first)


@pytest.mark.parametrize("tower", [0, 1])
def test_one_tower_alone_may_read(tower: int) -> None:
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


@pytest.mark.slow
def test_two_devices_join_as_one_does() -> None:
    # torch's meta device stands in for a second one: shapes and places without values.
    meta = torch.device("meta")
    halves = torch.ones(2, 3), torch.ones(2, 3, device=meta)
    second = exchange(halves, to=(1,), traffic=Traffic())[0]
    assert second.device == meta
    assert second.shape == (2, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_image_of_the_paper_moves_234_496_bytes_forward(dtype: torch.dtype) -> None:
    model = ModelSpec()
    # Shapes alone decide: no arithmetic is done on the meta device.
    meta = torch.device("meta")
    network = AlexNet(ModelSpec(lrn=False), [meta, meta])
    images = torch.empty(2, 3, 224, 224, device=meta, dtype=dtype)
    assert network((images, images)).shape == (2, 1000)
    elements = sum(layer.crossing_elements for layer in layers(model))
    assert elements * 4 == 234_496
    assert network.traffic.forward_bytes == 2 * elements * dtype.itemsize


def test_counts_go_on_over_passes() -> None:
    model = ModelSpec(width=0.125, input_size=64, num_classes=10, lrn=False)
    network = AlexNet(model, [torch.device("meta")] * 2)
    images = torch.empty(1, 3, 64, 64, device="meta")
    network((images, images))
    once = network.traffic.forward_bytes
    network((images, images))
    assert network.traffic.forward_bytes == 2 * once
