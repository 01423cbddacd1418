from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.contract.spec import ModelSpec
from trainer.dropout import DropoutDraw, mask
from trainer.layers import layers
from trainer.lrn import lrn_reference, within_map_norm
from trainer.network import AlexNet, Tower

META = torch.device("meta")

Networks = Callable[..., AlexNet]


def _images(num_images: int = 4, *, size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = 60 * torch.randn(num_images, 3, size, size, generator=generator)
    return images, images


def test_the_paper_has_60_965_224_parameters() -> None:
    network = AlexNet(ModelSpec(), [META, META])
    assert sum(weight.numel() for weight in network.parameters()) == 60_965_224


def test_shapes_of_the_paper() -> None:
    # LRN changes no shape, and its compiled kernels take no meta tensors.
    tower = Tower(ModelSpec(lrn=False), META)
    pool2 = tower.early(torch.empty(2, 3, 224, 224, device=META))
    assert pool2.shape == (2, 128, 13, 13)
    pool5 = tower.middle(torch.cat([pool2, pool2], dim=1))
    assert pool5.shape == (2, 128 * 6 * 6)
    conv1 = tower.conv1(torch.empty(1, 3, 227, 227, device=META))
    assert conv1.shape == (1, 48, 55, 55)
    assert tower.fc6.in_features == 9_216


@settings(max_examples=30)
@given(size=st.integers(63, 512), overlapping=st.booleans())
def test_maps_are_as_large_as_the_table_says(size: int, overlapping: bool) -> None:
    model = ModelSpec(
        width=0.125, input_size=size, num_classes=5, overlapping_pool=overlapping, lrn=False
    )
    network = AlexNet(model, [META, META])
    images = torch.empty(1, 3, size, size, device=META)
    assert network((images, images)).shape == (1, 5)
    conv3 = layers(model)[2]
    left = network.towers[0]
    assert isinstance(left, Tower)
    assert left.early(images).shape == (1, conv3.inputs // 2, conv3.map_size, conv3.map_size)


def _literal(
    network: AlexNet, model: ModelSpec, images: Tensor, draw: DropoutDraw | None
) -> Tensor:
    """Return the logits by the text of section 3.5, or #145 of the source; slow."""
    towers = [tower for tower in network.towers if isinstance(tower, Tower)]
    activate = torch.tanh if model.activation == "tanh" else torch.relu

    def norm(x: Tensor) -> Tensor:
        alpha = 1e-4 / 5 if model.recipe == "source2012" else 1e-4
        return lrn_reference(x, alpha) if model.lrn else x

    def pool(x: Tensor) -> Tensor:
        if not model.overlapping_pool:
            return F.max_pool2d(x, 2, 2)
        # Windows that reach over the edge hold what is there: padding by -inf changes no maximum.
        over = (x.shape[-1] - 3) % 2
        return F.max_pool2d(F.pad(x, (0, over, 0, over), value=-torch.inf), 3, 2)

    def early(tower: Tower) -> Tensor:
        x = tower.conv1(F.pad(images, (0, 3, 0, 3)))
        if model.recipe == "paper":
            x = pool(norm(activate(x)))
            return pool(norm(activate(tower.conv2(x))))
        x = activate(pool(norm(x)))
        x = norm(activate(tower.conv2(x)))
        return pool(within_map_norm(x) if model.lrn else x)

    def dropped(x: Tensor, layer: str, tower: int) -> Tensor:
        if not model.dropout:
            return x
        if draw is None:
            return 0.5 * x
        kept = mask(draw, layer=layer, tower=tower, num_units=x.shape[1], device=x.device)
        return torch.where(kept, x, 0.0)

    both = torch.cat([early(tower) for tower in towers], dim=1)
    maps = [
        pool(activate(tower.conv5(activate(tower.conv4(activate(tower.conv3(both)))))))
        for tower in towers
    ]
    both = torch.cat([x.flatten(1) for x in maps], dim=1)
    both = torch.cat(
        [dropped(activate(tower.fc6(both)), "fc6", t) for t, tower in enumerate(towers)], dim=1
    )
    both = torch.cat(
        [dropped(activate(tower.fc7(both)), "fc7", t) for t, tower in enumerate(towers)], dim=1
    )
    logits: Tensor = network.fc8(both)
    return logits


SWITCHES: list[dict[str, Any]] = [
    {},
    {"recipe": "source2012"},
    {"activation": "tanh"},
    {"activation": "tanh", "recipe": "source2012"},
    {"lrn": False},
    {"lrn": False, "recipe": "source2012"},
    {"overlapping_pool": False},
    {"dropout": False},
]


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_computes_what_the_text_says(
    small_network: Networks,
    small_model: Callable[..., ModelSpec],
    changes: dict[str, Any],
    training: bool,
) -> None:
    network, images = small_network(**changes), _images()
    draw = DropoutDraw(seed=1, step=2, places=torch.arange(4)) if training else None
    expected = _literal(network, small_model(**changes), images[0], draw)
    torch.testing.assert_close(network(images, draw), expected, rtol=1e-4, atol=1e-5)


def test_every_switch_changes_the_output(small_network: Networks) -> None:
    images = _images()
    draw = DropoutDraw(seed=1, step=2, places=torch.arange(4))
    # Without LRN the recipes are one: the maximum of ReLUs is the ReLU of the maximum.
    different = [changes for changes in SWITCHES if len(changes) < 2 or "lrn" not in changes]
    outputs = [small_network(**changes)(images, draw) for changes in different]
    for number, output in enumerate(outputs):
        assert not any(torch.allclose(output, other) for other in outputs[number + 1 :])


def test_layout_of_the_images_does_not_matter(small_network: Networks) -> None:
    network, (images, _) = small_network(), _images()
    channels_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network((images, images)), network((channels_last, channels_last)))


def test_towers_cross_only_where_the_paper_says(small_network: Networks) -> None:
    network, (images, _) = small_network(), _images(2)
    left, right = network.towers
    assert isinstance(left, Tower)
    assert isinstance(right, Tower)
    before = left.early(images), right.early(images)
    with torch.no_grad():
        right.conv2.weight.zero_()
    assert torch.equal(left.early(images), before[0])
    assert not torch.equal(right.early(images), before[1])
    # conv3 of the left tower reads both halves.
    channels = before[0].shape[1]
    read = left.conv3.weight.abs().sum(dim=(0, 2, 3))
    assert read.shape == (2 * channels,)
    assert bool((read > 0).all())


def test_images_of_a_batch_do_not_touch_each_other(small_network: Networks) -> None:
    network, (images, _) = small_network(), _images(4)
    together = network((images, images))
    alone = torch.cat([network((image[None], image[None])) for image in images])
    torch.testing.assert_close(together, alone)


def test_bf16_computes_in_bf16_and_keeps_its_weights(small_network: Networks) -> None:
    network, (images, _) = small_network(), _images()
    half = images.bfloat16()
    logits = network((half, half))
    assert logits.dtype == torch.bfloat16
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    torch.testing.assert_close(logits.float(), network((images, images)), rtol=0.1, atol=0.1)


def test_weights_have_names_that_no_device_changes(small_model: Callable[..., ModelSpec]) -> None:
    model = small_model()
    cpu = torch.device("cpu")
    on_one = AlexNet(model, [cpu, cpu]).state_dict()
    on_two = AlexNet(model, [cpu, META]).state_dict()
    assert on_one.keys() == on_two.keys()
    assert {name for name in on_two if on_two[name].device == META} == {
        name for name in on_two if name.startswith("towers.1.")
    }
    assert "fc8.weight" in on_one


def test_fc7_gets_its_gradient_through_the_crossing(small_network: Networks) -> None:
    network, images = small_network(), _images()
    network(images, DropoutDraw(0, 0, torch.arange(4))).sum().backward()
    for name, weight in network.named_parameters():
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None, name
        assert bool(weight.grad.abs().sum() > 0), name
