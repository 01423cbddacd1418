from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.trainer.network.models import models
from trainer.contract.description import activation_bytes, describe
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec
from trainer.network.alexnet import AlexNet
from trainer.network.dropout import DropoutDraw
from trainer.network.initialise import initialise
from trainer.running.local import read_preset

CPU = torch.device("cpu")


def test_paper_in_numbers() -> None:
    paper = describe(read_preset("paper"))
    assert paper.parameters == 60_965_224
    assert round(paper.multiply_adds / 1e6, 1) == 724.4
    assert paper.exchanged_bytes_per_image == 234_496
    assert [line.output for line in paper.layers] == [
        *((96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)),
        *((4096,), (4096,), (1000,)),
    ]
    assert [line.pooled for line in paper.layers if line.pooled] == [
        *((96, 27, 27), (256, 13, 13), (256, 6, 6)),
    ]


def test_a_device_holds_its_tower_and_the_first_holds_fc8() -> None:
    first, second = describe(read_preset("paper")).devices
    assert first.weights_bytes - second.weights_bytes == 4 * 4_097_000
    assert first.weights_bytes + second.weights_bytes == 4 * 60_965_224
    assert first.weights_bytes == first.velocity_bytes == first.gradients_bytes
    assert first.total_bytes == 3 * first.weights_bytes + 128 * first.activations_bytes_per_image


def test_one_device_keeps_what_both_towers_read_once(job: Callable[..., JobSpec]) -> None:
    two = describe(job()).devices
    (one,) = describe(job(scale={"devices_per_replica": 1})).devices
    assert one.weights_bytes == sum(device.weights_bytes for device in two)
    assert one.activations_bytes_per_image < sum(
        device.activations_bytes_per_image for device in two
    )


@settings(
    max_examples=60,
    # The patch holds for every example alike.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(model=models(), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_activations_are_those_that_autograd_keeps(
    monkeypatch: pytest.MonkeyPatch, model: ModelSpec, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("trainer.network.early_layer.load", lambda _: None)
    network = AlexNet(model, [CPU, CPU])
    initialise(network, model, seed=0)
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    edge = model.input_size
    images = torch.randn(1, 3, edge, edge).to(dtype, memory_format=torch.channels_last)
    labels = torch.tensor([3])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network((images, images), DropoutDraw(0, 0, 0))
        F.cross_entropy(logits.float(), labels, reduction="none")
    measured = sum(storage.nbytes() for storage in kept.values())
    element_bytes = torch.finfo(dtype).bits // 8
    # In bf16 autograd keeps the copies of the weights as well, though not of the biases.
    num_copied = sum(weight.numel() for weight in network.parameters() if weight.dim() > 1)
    copies_bytes = 0 if dtype == torch.float32 else num_copied * element_bytes
    label_and_weight_bytes = 8 + 4
    expected = activation_bytes(model, element_bytes, tuple(range(model.towers))) + copies_bytes
    assert 0 <= measured - expected <= label_and_weight_bytes


def test_one_tower_lies_on_one_device_and_nothing_crosses(job: Callable[..., JobSpec]) -> None:
    one = describe(job(model={"towers": 1}, scale={"devices_per_replica": 1}))
    assert one.exchanged_bytes_per_image == 0
    (device,) = one.devices
    assert device.weights_bytes == 4 * one.parameters == 4 * 59_798_312
