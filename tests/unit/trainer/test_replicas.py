from typing import Any

import pytest
import torch

from tests.unit.trainer.replica_processes import (
    evaluate_share,
    gradients_of,
    run_replicas,
    train_share,
)
from trainer.replicas import Replicas

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[2, 3])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each of two, or three, replicas saw."""
    return run_replicas(request.param, tmp_path_factory.mktemp("replicas") / "run")


def test_alone_nothing_is_summed() -> None:
    replicas = Replicas(CPU)
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    replicas.sum_gradients([parameter])
    assert parameter.grad.tolist() == [1, 2, 3]
    assert replicas.sum(1, True, 0.5) == [1.0, 1.0, 0.5]
    assert replicas.gather("a") == ["a"]
    assert (replicas.rank, replicas.size) == (0, 1)


@pytest.mark.slow
def test_values_are_summed_and_gathered_by_rank(seen: list[dict[str, Any]]) -> None:
    size = len(seen)
    for rank, replica in enumerate(seen):
        assert replica["rank"] == rank
        assert replica["sum"] == [size, sum(10.0**other for other in range(size)), 1.0]
        assert replica["gathered"] == [["replica", other] for other in range(size)]


@pytest.mark.slow
def test_gradients_are_sums_and_the_same_bits_in_every_rank_and_round(
    seen: list[dict[str, Any]],
) -> None:
    assert len({digest for replica in seen for digest in replica["digests"]}) == 1
    expected = [sum(parts) for parts in zip(*map(gradients_of, range(len(seen))), strict=True)]
    for got, summed in zip(seen[0]["gradients"], expected, strict=True):
        assert isinstance(summed, torch.Tensor)
        assert got == pytest.approx(summed.flatten()[:5].tolist(), rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_replicas_train_as_one_does(seen: list[dict[str, Any]]) -> None:
    # Dropout on: its masks belong to places of the global batch, not to replicas.
    losses, _ = train_share(Replicas(CPU))
    assert len({replica["weights"] for replica in seen}) == 1
    for replica in seen:
        assert replica["losses"] == pytest.approx(losses, rel=1e-4)


@pytest.mark.slow
def test_replicas_evaluate_as_one_does(seen: list[dict[str, Any]]) -> None:
    num_samples, loss, *ratios = evaluate_share(Replicas(CPU))
    assert num_samples == 12 + 5
    for replica in seen:
        assert replica["evaluation"] == [num_samples, pytest.approx(loss, rel=1e-6), *ratios]
