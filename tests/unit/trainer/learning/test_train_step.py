import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from data_shards.feeding.reader import Batch
from tests.gpu import GPU, needs_gpu
from tests.unit.trainer.batches import make_batch
from tests.unit.trainer.late import answering_late
from trainer.attempt.setting import Votes
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas
from trainer.errors import NonFiniteLossError
from trainer.learning.preprocess import Preprocess
from trainer.learning.train_step import StepResult, TrainStep
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.dropout import DropoutDraw
from trainer.network.initialise import initialise

CPU = torch.device("cpu")
MEAN = np.full((72, 72, 3), 120, dtype=np.float32)

Jobs = Callable[..., JobSpec]
Networks = Callable[..., AlexNet]


def _train_step(spec: JobSpec, network: AlexNet, *, device: torch.device = CPU) -> TrainStep:
    return TrainStep(
        spec,
        network,
        UpdateRule(dict(network.named_parameters()), spec.optim, spec.model.recipe),
        Preprocess(MEAN, None, (device, device), torch.float32),
        Replicas(device),
    )


def _take(train_step: TrainStep, batch: Batch, votes: Votes | None = None) -> StepResult:
    return train_step(batch, learning_rate=0.01, votes=votes or Votes()).result()


def _weights(network: AlexNet) -> Mapping[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def test_a_step_is_the_mean_gradient_of_the_real_samples(
    job: Jobs, small_network: Networks
) -> None:
    spec, batch = job(seed=9), make_batch(step=4, num_real=5)
    network, expected = small_network(), small_network()
    result = _take(_train_step(spec, network), batch)

    images = torch.from_numpy(batch.images[:5]).float().permute(0, 3, 1, 2) - 120
    logits = expected((images, images), DropoutDraw(9, 4, 0))
    loss = F.cross_entropy(logits, torch.from_numpy(batch.labels[:5]))
    loss.backward()
    assert result.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert result.num_samples == 5
    updated = _weights(network)
    for name, weight in expected.named_parameters():
        assert weight.grad is not None
        change = -0.01 * (weight.grad + 0.0005 * weight.detach())
        torch.testing.assert_close(
            updated[name] - weight.detach(), change, rtol=1e-2, atol=1e-7, msg=name
        )


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_micro_batches_change_sums_by_rounding_only(
    job: Jobs, small_network: Networks, micro_batch_size: int
) -> None:
    def train(optim: dict[str, Any]) -> tuple[StepResult, Mapping[str, torch.Tensor]]:
        network = small_network()
        step = _train_step(job(optim={"global_batch_size": 8, **optim}), network)
        return _take(step, make_batch(num_real=7)), _weights(network)

    whole, weights = train({})
    parts, others = train({"micro_batch_size": micro_batch_size})
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=1e-6)


def test_a_batch_without_samples_moves_by_momentum_and_decay_alone(
    job: Jobs, small_network: Networks
) -> None:
    network = small_network()
    before = _weights(network)
    result = _take(_train_step(job(), network), make_batch(num_real=0))
    assert (result.loss, result.num_samples) == (0.0, 0)
    for name, weight in _weights(network).items():
        torch.testing.assert_close(weight, before[name] * (1 - 0.01 * 0.0005))


def test_the_same_step_twice_gives_the_same_bits(job: Jobs, small_network: Networks) -> None:
    def train() -> Mapping[str, torch.Tensor]:
        network = small_network()
        step = _train_step(job(), network)
        for number in range(3):
            _take(step, make_batch(step=number, seed=number))
        return _weights(network)

    one, other = train(), train()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_loss_that_is_not_finite_names_step_and_layer_and_leaves_the_weights(
    job: Jobs, small_network: Networks
) -> None:
    network = small_network()
    with torch.no_grad():
        network.get_parameter("towers.1.conv4.weight")[0, 0, 0, 0] = torch.inf
    before = _weights(network)
    with pytest.raises(
        NonFiniteLossError, match=r"step 17: the loss is not finite \(towers\.1\.conv4 is the first"
    ):
        _take(_train_step(job(), network), make_batch(step=17))
    after = _weights(network)
    assert all(torch.equal(before[name], after[name]) for name in before)


@needs_gpu
def test_on_a_gpu_neither_that_step_nor_the_one_queued_behind_it_touches_the_weights(
    job: Jobs, small_model: Callable[..., ModelSpec]
) -> None:
    network = AlexNet(small_model(), (GPU, GPU))
    initialise(network, small_model(), seed=0)
    step = _train_step(job(), network, device=GPU)
    _take(step, make_batch(step=16))
    weights = network.get_parameter("towers.1.conv1.weight").detach()
    weights[0, 0, 0, 0] = torch.inf
    before = _weights(network)
    ill = step(make_batch(step=17), learning_rate=0.01, votes=Votes())
    # Behind it, what would do no harm.
    weights[0, 0, 0, 0] = 0
    well = step(make_batch(step=18), learning_rate=0.01, votes=Votes())
    weights[0, 0, 0, 0] = torch.inf
    with pytest.raises(NonFiniteLossError, match=r"step 17: .*\(towers\.1\.conv1 is the first"):
        ill.result()
    assert math.isfinite(well.result().loss)
    after = _weights(network)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_alone_that_overflows_is_told_so() -> None:
    assert "the loss alone is not finite" in str(NonFiniteLossError(step=1, layer=None))


@pytest.mark.parametrize("micro_batch_size", [2, 8])
def test_a_late_answer_changes_no_bit(
    job: Jobs, small_network: Networks, micro_batch_size: int
) -> None:
    spec = job(optim={"global_batch_size": 8, "micro_batch_size": micro_batch_size})

    def train(network: AlexNet) -> list[StepResult]:
        step = _train_step(spec, network)
        batches = (make_batch(step=number, seed=number, num_real=7) for number in range(3))
        queued = [step(batch, learning_rate=0.01, votes=Votes()) for batch in batches]
        return [pending.result() for pending in queued]

    one, other = small_network(), small_network()
    at_once = train(one)
    with answering_late():
        assert train(other) == at_once
    before, after = _weights(one), _weights(other)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_follows_on_a_loss_that_is_not_finite_leaves_the_weights_too(
    job: Jobs, small_network: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network()
    with answering_late():
        step = _train_step(job(), network)
    before = _weights(network)
    with monkeypatch.context() as broken:
        broken.setattr(
            "trainer.learning.train_step._loss_sum",
            lambda logits, *_: (logits * torch.tensor(torch.nan)).sum(),
        )
        failing = step(make_batch(step=4), learning_rate=0.01, votes=Votes())
    following = step(make_batch(step=5), learning_rate=0.01, votes=Votes(pause=True))
    # The hosts have known what they know all along, the second loss is as good as any.
    assert (failing.known.num_samples, following.known.votes) == (8, Votes(pause=True))
    assert following.result().loss > 0
    with pytest.raises(NonFiniteLossError, match=r"step 4: .*the loss alone"):
        failing.result()
    after = _weights(network)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_layer_is_found_after_another_step_was_queued(
    job: Jobs, small_network: Networks
) -> None:
    network = small_network()
    with torch.no_grad():
        network.get_parameter("towers.1.conv4.weight")[0, 0, 0, 0] = torch.inf
    with answering_late():
        step = _train_step(job(), network)
        failing, _ = (
            step(make_batch(step=number), learning_rate=0.01, votes=Votes()) for number in (17, 18)
        )
    with pytest.raises(NonFiniteLossError, match=r"step 17: .*towers\.1\.conv4 is the first"):
        failing.result()


def test_votes_come_back_to_all(job: Jobs, small_network: Networks) -> None:
    step = _train_step(job(), small_network())
    for votes in (Votes(), Votes(pause=True), Votes(cancel=True), Votes(disowned=True)):
        assert _take(step, make_batch(), votes).votes == votes
