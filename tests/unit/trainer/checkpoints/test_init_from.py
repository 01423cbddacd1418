import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.unit.trainer.runs import manifest_of
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.checkpoints.init_from import layer_of, load_initial, misfits
from trainer.contract.attempt import RETRYABLE, Reason
from trainer.contract.checkpoint import MANIFEST_NAME, VELOCITY_NAME, WEIGHTS_NAME, StartedFrom
from trainer.contract.checkpoint_folder import measure
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import InitFrom
from trainer.errors import BadDataError, BadSpecError, reason_of
from trainer.network.alexnet import AlexNet

Network = Callable[..., AlexNet]
Weights = dict[str, Tensor]


def _weights(network: AlexNet) -> Weights:
    return dict(network.named_parameters())


def _copied(weights: Weights) -> Weights:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _write(weights: Weights, folder: Path, *, model: ModelSpec | None = None) -> Path:
    """Write a checkpoint of step 30 of the job `run`."""
    velocity = {name: torch.ones_like(weight) for name, weight in weights.items()}
    manifest = manifest_of(30).model_copy(update={"model": model})
    snapshot = take_snapshot(manifest, weights, velocity)
    write_checkpoint(snapshot, folder / "step-00000030", check_fence=lambda: None)
    return folder / "step-00000030"


def _init(folder: Path, *new_layers: str) -> InitFrom:
    return InitFrom.model_validate({"checkpoint": str(folder), "new_layers": new_layers})


def _load(folder: Path, weights: Weights, *new_layers: str) -> StartedFrom:
    return load_initial(_init(folder, *new_layers), weights, model=ModelSpec())


def test_all_but_the_new_layers_are_the_checkpoints(
    small_network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = _weights(small_network(seed=1))
    folder = _write(taken, tmp_path)
    weights = _weights(small_network(seed=2, num_classes=5))
    drawn = _copied(weights)
    with caplog.at_level(logging.INFO):
        started_from = _load(folder, weights, "fc8")
    for name, weight in weights.items():
        expected = drawn if name.startswith("fc8.") else taken
        assert torch.equal(weight, expected[name]), name
    assert (started_from.checkpoint, started_from.job_id) == (str(folder), "run")
    assert (started_from.step, started_from.new_layers) == (30, ("fc8",))
    assert len(started_from.weights_sha256) == 64
    assert "after 30 steps" in caplog.text
    assert "drawn anew: fc8; left behind: none" in caplog.text


def test_a_layer_of_the_same_shape_is_drawn_anew_too(
    small_network: Network, tmp_path: Path
) -> None:
    folder = _write(_weights(small_network(seed=1)), tmp_path)
    weights = _weights(small_network(seed=2))
    drawn = _copied(weights)
    _load(folder, weights, "fc7", "fc8")
    assert torch.equal(weights["towers.1.fc7.weight"], drawn["towers.1.fc7.weight"])
    assert not torch.equal(weights["towers.1.fc6.weight"], drawn["towers.1.fc6.weight"])


def test_a_layer_that_the_network_lacks_is_left_behind(
    small_network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = _weights(small_network(seed=1, sixth_conv=True))
    folder = _write(taken, tmp_path)
    weights = _weights(small_network(seed=2))
    with caplog.at_level(logging.INFO):
        _load(folder, weights)
    assert all(torch.equal(weight, taken[name]) for name, weight in weights.items())
    assert "left behind: conv6" in caplog.text


def test_what_a_job_holds_of_a_checkpoint_is_enough(small_network: Network, tmp_path: Path) -> None:
    taken = _weights(small_network(seed=1))
    folder = _write(taken, tmp_path)
    (folder / VELOCITY_NAME).unlink()
    weights = _weights(small_network(seed=2))
    assert _load(folder, weights).step == 30
    assert all(torch.equal(weight, taken[name]) for name, weight in weights.items())


def _refusal(folder: Path, weights: Weights, *new_layers: str) -> str:
    before = _copied(weights)
    with pytest.raises(BadSpecError) as refusal:
        _load(folder, weights, *new_layers)
    # Nothing is taken of what is refused.
    assert all(torch.equal(weight, before[name]) for name, weight in weights.items())
    return str(refusal.value)


def test_other_classes_need_a_new_fc8(small_network: Network, tmp_path: Path) -> None:
    folder = _write(_weights(small_network()), tmp_path)
    told = _refusal(folder, _weights(small_network(num_classes=5)))
    assert told == (
        f"init_from: checkpoint {folder} does not fit the network: fc8.weight is (10, 512) in it "
        'and (5, 512) in the network; draw these layers anew by new_layers = ["fc8"], or set model '
        "as it is in its checkpoint.json"
    )


def test_what_is_missing_is_named_with_what_is_new_already(
    small_network: Network, tmp_path: Path
) -> None:
    taken = _weights(small_network())
    del taken["towers.1.conv4.bias"]
    folder = _write(taken, tmp_path)
    told = _refusal(folder, _weights(small_network(num_classes=5)), "fc8")
    assert "towers.1.conv4.bias is not in it; draw" in told
    assert 'new_layers = ["conv4", "fc8"]' in told


def test_one_tower_of_two_is_not_a_network(small_network: Network, tmp_path: Path) -> None:
    folder = _write(_weights(small_network()), tmp_path)
    told = _refusal(folder, _weights(small_network(towers=1)))
    assert "towers.1.conv1.bias is in it, but not in the network" in told
    assert "nothing of it would be left" not in told
    assert 'new_layers = ["conv1", "conv2", "conv3"' in told


def test_of_another_network_nothing_is_left(small_network: Network, tmp_path: Path) -> None:
    folder = _write(_weights(small_network(width=0.25)), tmp_path)
    told = _refusal(folder, _weights(small_network()))
    assert told.endswith(
        "; nothing of it would be left, so set model as it is in its checkpoint.json"
    )
    assert told.count(" in it and ") == 8


def test_what_else_the_network_has_otherwise_is_told(
    small_network: Network,
    small_model: Callable[..., ModelSpec],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = _write(_weights(small_network()), tmp_path, model=small_model())
    weights = _weights(small_network(num_classes=5))
    same = small_model(num_classes=5, init="recipe")
    load_initial(_init(folder, "fc8"), weights, model=same)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    other = small_model(num_classes=5, recipe="source2012", lrn=False)
    load_initial(_init(folder, "fc8"), weights, model=other)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "the weights were learned by another network: model.recipe was paper and is source2012; "
        "model.lrn was True and is False"
    ]


def _remove_folder(folder: Path) -> str:
    folder.rename(folder.with_name("elsewhere"))
    return "checkpoint.json cannot be read"


def _remove_weights(folder: Path) -> str:
    (folder / WEIGHTS_NAME).unlink()
    return f"{WEIGHTS_NAME} cannot be read"


def _flip_a_bit(folder: Path) -> str:
    content = bytearray((folder / WEIGHTS_NAME).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS_NAME).write_bytes(content)
    return f"{WEIGHTS_NAME} does not have the sha256 it was written with"


def _forge(folder: Path) -> str:
    (folder / WEIGHTS_NAME).write_bytes(b"no tensors")
    size_bytes, sha256 = measure(folder / WEIGHTS_NAME)
    document = json.loads((folder / MANIFEST_NAME).read_text())
    document["files"][WEIGHTS_NAME] = {"size_bytes": size_bytes, "sha256": sha256}
    document["manifest_sha256"] = None
    (folder / MANIFEST_NAME).write_text(json.dumps(document))
    return f"{WEIGHTS_NAME} holds no tensors"


@pytest.mark.parametrize("damage", [_remove_folder, _remove_weights, _flip_a_bit, _forge])
def test_a_checkpoint_that_is_not_whole_is_refused_and_not_retried(
    small_network: Network, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    weights = _weights(small_network())
    folder = _write(weights, tmp_path)
    problem = damage(folder)
    with pytest.raises(BadDataError) as refusal:
        _load(folder, weights)
    told = str(refusal.value)
    assert told.startswith(f"init_from.checkpoint: checkpoint {folder}: {problem}")
    assert "; name one that is whole" in told
    assert reason_of(refusal.value) is Reason.BAD_DATA
    assert Reason.BAD_DATA not in RETRYABLE


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [("towers.0.conv1.weight", "conv1"), ("fc8.bias", "fc8"), ("foreign", "")],
)
def test_a_parameter_is_of_the_layer_before_its_last_part(parameter: str, layer: str) -> None:
    assert layer_of(parameter) == layer


layers = st.sampled_from(["conv1", "conv2", "fc6", "fc8"])
parameters = st.builds("towers.{}.{}.weight".format, st.integers(0, 1), layers)
shapes: Any = st.dictionaries(parameters, st.tuples(st.integers(1, 2)), max_size=6)


@given(shapes, shapes, st.sets(layers))
def test_what_fits_is_all_the_same_and_what_does_not_is_named(
    stored: Any, wanted: Any, new_layers: set[str]
) -> None:
    found = misfits(stored, wanted, new_layers)
    for layer in ("conv1", "conv2", "fc6", "fc8"):
        there, here = (
            {name: shape for name, shape in shapes.items() if f".{layer}." in name}
            for shapes in (stored, wanted)
        )
        fits = layer in new_layers or not here or there == here
        assert (layer not in found) == fits
        if not fits:
            name = found[layer].split(" ", 1)[0]
            assert layer_of(name) == layer
            assert there.get(name) != here.get(name)
    # Its own mend mends it.
    assert not misfits(stored, wanted, new_layers | found.keys())
