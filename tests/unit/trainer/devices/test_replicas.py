from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.unit.trainer.devices.replica_processes import (
    evaluate_share,
    gradients_of,
    run_one_that_dies,
    run_replicas,
    train_share,
)
from trainer.devices.replicas import Replicas

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module", params=[2, 3])
def seen(request: pytest.FixtureRequest, run: Path) -> Any:
    """What each of two, or three, replicas saw."""
    return run_replicas(request.param, run / str(request.param))


def test_alone_nothing_is_summed() -> None:
    replicas = Replicas(CPU, CPU)
    assert replicas.sum(1, True, 0.5) == [1.0, 1.0, 0.5]
    assert replicas.gather("a") == ["a"]
    assert (replicas.rank, replicas.size) == (0, 1)


@pytest.mark.parametrize(
    ("devices", "groups"),
    [
        (("cpu", "cpu"), []),
        (("cuda:0", "cuda:0"), ["cuda:0"]),
        (("cuda:2", "cuda:3"), ["cuda:2", "cuda:3"]),
    ],
)
def test_each_gpu_of_a_replica_has_a_group(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, str], groups: list[str]
) -> None:
    made: list[str] = []

    def new_group(*, backend: str, device_id: torch.device) -> dist.ProcessGroup:
        assert backend == "nccl"
        made.append(str(device_id))
        return dist.ProcessGroup(0, 2)  # type: ignore[call-arg]  # torch's stub lacks this one

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "new_group", new_group)
    Replicas(*map(torch.device, devices))
    assert made == groups


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
def test_sums_start_before_the_last_backward_pass_has_ended_and_in_one_order(
    seen: list[dict[str, Any]],
) -> None:
    sums = []
    for replica in seen:
        happened = replica["happened"]
        # Not in the first micro-batch's.
        first, second = happened.index("end 0"), happened.index("end 1")
        assert not [event for event in happened[:first] if event.startswith("sum")]
        last = happened[first:second]
        assert last.index("gradient fc8.weight") < _first_sum(last)
        assert _first_sum(last) < last.index("gradient towers.0.conv1.weight")
        sums.append([event for event in last if event.startswith("sum")])
        assert len(sums[-1]) == len(replica["bucket_digests"]) > 5
    assert all(each == sums[0] for each in sums)
    assert len({tuple(replica["bucket_digests"]) for replica in seen}) == 1


def _first_sum(happened: list[str]) -> int:
    return next(number for number, event in enumerate(happened) if event.startswith("sum"))


@pytest.mark.slow
def test_replicas_train_as_one_does_and_again_and_resumed_to_the_same_bits(
    seen: list[dict[str, Any]], run: Path
) -> None:
    # Dropout on: its masks belong to places of the global batch, not to replicas. In one step all
    # samples but the first replica's weigh nothing.
    losses, network = train_share(Replicas(CPU))
    assert len({weights for replica in seen for weights in replica["weights"]}) == 1
    for replica in seen:
        assert replica["losses"] == pytest.approx(losses, rel=1e-4)
    together = np.load(run / str(len(seen)) / "0.npz")
    for name, alone in network.named_parameters():
        np.testing.assert_allclose(
            together[name], alone.detach().numpy(), rtol=1e-3, atol=1e-5, err_msg=name
        )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_ends_all_before_the_weights_are_touched(
    seen: list[dict[str, Any]],
) -> None:
    for replica in seen:
        # At once, and late.
        for told, untouched in replica["poisoned"]:
            assert "step 3: the loss is not finite (towers.1.conv4 is the first layer" in told
            assert untouched


@pytest.mark.slow
def test_a_loss_that_is_summed_late_changes_no_weight(seen: list[dict[str, Any]]) -> None:
    for replica in seen:
        # Alone in its sum, its share may be added in another order.
        assert replica["late losses"] == pytest.approx(replica["losses"], rel=1e-14)
        assert replica["late losses"] == seen[0]["late losses"]
        assert replica["late weights"] == replica["weights"][0]


@pytest.mark.slow
def test_the_death_of_one_ends_the_others_with_an_error(tmp_path: Path) -> None:
    errors = run_one_that_dies(3, tmp_path / "run")
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("another replica has ended or cannot be reached")
        assert "onnection" in error, error


@pytest.mark.slow
def test_replicas_evaluate_as_one_does(seen: list[dict[str, Any]]) -> None:
    num_samples, loss, *ratios = evaluate_share(Replicas(CPU))
    assert num_samples == 12 + 5
    for replica in seen:
        assert replica["evaluation"] == [num_samples, pytest.approx(loss, rel=1e-6), *ratios]
