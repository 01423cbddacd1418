"""200 steps of the training step as it is, against the same written plainly with torch."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from data_shards.feeding.reader import Batch
from trainer.attempt.setting import Votes
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas
from trainer.learning.preprocess import Preprocess
from trainer.learning.train_step import TrainStep
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet, Tower
from trainer.network.dropout import DropoutDraw
from trainer.network.initialise import initialise

CPU = torch.device("cpu")
NUM_STEPS, BATCH_SIZE, NUM_BATCHES, CROP, NUM_CLASSES = 200, 16, 8, 64, 10
MEAN = 128
EPSILON = 2e-4
# Losses, in nats. At first there is rounding alone; measured: below 1e-5 up to step 61.
FIRST, FIRST_TOLERANCE = 20, 1e-4
# Then last bits have grown, and means of 20 steps, which fall from 2.7 to 1.3, are .09 apart. Plain
# runs that began with another last bit are so too: .07 to .09 in four. With ε a quarter larger: .6.
WINDOW, TOLERANCE = 20, 0.2


def _spec() -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "fast",
            "data": {"train": "nowhere", "validation": "nowhere"},
            "model": {
                "width": 0.125,
                "input_size": CROP,
                "num_classes": NUM_CLASSES,
                "init": "variance_preserving",
            },
            "optim": {"global_batch_size": BATCH_SIZE},
        }
    )


def _batches() -> Iterator[Batch]:
    """Yield noise on a pattern of 8 x 8 patches for each class, over and over."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (NUM_CLASSES, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    labels = random.integers(0, NUM_CLASSES, (NUM_BATCHES, BATCH_SIZE))
    noise = random.normal(0, 60, (NUM_BATCHES, BATCH_SIZE, CROP, CROP, 3))
    images = (patterns[labels] + noise).clip(0, 255).astype(np.uint8)
    for step in range(NUM_STEPS):
        which = step % NUM_BATCHES
        yield Batch(
            step=step,
            epoch=0,
            images=images[which],
            labels=labels[which],
            real=np.ones(BATCH_SIZE, dtype=bool),
            samples=np.arange(BATCH_SIZE),
            offsets=np.zeros((BATCH_SIZE, 2), dtype=np.int64),
            mirrored=np.zeros(BATCH_SIZE, dtype=bool),
            colour=np.zeros((BATCH_SIZE, 3), dtype=np.float32),
            corrupt=(),
        )


def _network() -> AlexNet:
    spec = _spec()
    network = AlexNet(spec.model, [CPU, CPU])
    initialise(network, spec.model, seed=spec.seed)
    return network


def _fast_losses() -> list[float]:
    spec, network = _spec(), _network()
    mean_image = np.full((CROP, CROP, 3), MEAN, dtype=np.float32)
    step = TrainStep(
        spec,
        network,
        UpdateRule(dict(network.named_parameters()), spec.optim, spec.model.recipe),
        Preprocess(mean_image, None, (CPU, CPU), torch.float32),
        Replicas(CPU),
    )
    return [step(batch, learning_rate=EPSILON, votes=Votes()).result().loss for batch in _batches()]


class _PlainEarlyLayer(nn.Module):
    """Section 3.5 with torch's own functions; torch divides α by the size of the window."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        x = F.local_response_norm(torch.relu(x), 5, alpha=5 * self._alpha, beta=0.75, k=2.0)
        return F.max_pool2d(x, 3, 2)


def _plain_losses(
    *, epsilon: float = EPSILON, alpha: float = 1e-4, num_steps: int = NUM_STEPS
) -> list[float]:
    network = _network()
    for tower in network.towers:
        assert isinstance(tower, Tower)
        for name in tower.early:
            tower.early[name] = _PlainEarlyLayer(alpha)
    velocity = [torch.zeros_like(weight) for weight in network.parameters()]
    losses = []
    for batch in itertools.islice(_batches(), num_steps):
        # (n, h, w, 3) -> (n, 3, h, w)
        images = torch.from_numpy(batch.images).float().permute(0, 3, 1, 2) - MEAN
        network.zero_grad()
        logits = network((images, images), DropoutDraw(0, batch.step, 0))
        loss = F.cross_entropy(logits, torch.from_numpy(batch.labels))
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for w, v in zip(network.parameters(), velocity, strict=True):
                assert w.grad is not None
                v.copy_(0.9 * v - 0.0005 * epsilon * w - epsilon * w.grad)
                w.add_(v)
    return losses


def _first_distance(one: list[float], other: list[float]) -> float:
    return float(np.max(np.abs(np.subtract(one[:FIRST], other[:FIRST]))))


def _distance(one: list[float], other: list[float]) -> float:
    """Return how far apart the curves are at most, each smoothed over a window."""
    difference = np.subtract(one, other)
    return float(np.max(np.abs(np.convolve(difference, np.ones(WINDOW) / WINDOW, "valid"))))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_fast_path_learns_as_plain_torch_does_for_200_steps() -> None:
    fast, plain = _fast_losses(), _plain_losses()
    assert np.mean(plain[-20:]) < 0.6 * np.mean(plain[:20])
    assert _first_distance(fast, plain) < FIRST_TOLERANCE
    assert _distance(fast, plain) < TOLERANCE


@pytest.mark.slow
def test_a_step_of_another_size_or_another_lrn_would_be_seen() -> None:
    plain = _plain_losses()
    assert _distance(_plain_losses(epsilon=1.25 * EPSILON), plain) > TOLERANCE
    divided = _plain_losses(alpha=1e-4 / 5, num_steps=FIRST)
    assert _first_distance(divided, plain) > 100 * FIRST_TOLERANCE
