"""Fine-tuning: beginning with the weights of a checkpoint instead of drawn ones.

So the paper makes its CNN*: six convolutional layers learn 22,000 categories and then, with another
classifier, the 1,000 (section 6.1). The 2012 source's `initw.py` takes layers from a checkpoint in
the same way.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainer.checkpoints.checkpoint import read_tensors
from trainer.checkpoints.named_checkpoint import folder_at, refusing
from trainer.contract.checkpoint import WEIGHTS_NAME, StartedFrom
from trainer.contract.checkpoint_folder import (
    CheckpointError,
    OtherSpecError,
    read_manifest,
    verify,
)
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import InitFrom
from trainer.errors import BadSpecError

Shapes = Mapping[str, tuple[int, ...]]
"""Of parameters, by name."""

_FIELD = "init_from.checkpoint"

_log = logging.getLogger(__name__)


def load_initial(init: InitFrom, weights: Mapping[str, Tensor], *, model: ModelSpec) -> StartedFrom:
    """Copy a checkpoint's weights over drawn ones, but for the new layers, which stay as drawn.

    Velocity, schedule and position are not taken. A layer that the network lacks is left behind.
    What else `model` has otherwise than the checkpoint's network is logged as a warning.

    Raises BadSpecError if another layer does not fit, or BadDataError if the checkpoint is missing
    or damaged.
    """
    folder = folder_at(_FIELD, init.checkpoint)
    with refusing(_FIELD):
        manifest = verify(folder, (WEIGHTS_NAME,))
        stored = read_tensors(folder, WEIGHTS_NAME)
    found = misfits(_shapes(stored), _shapes(weights), init.new_layers)
    if found:
        raise BadSpecError(_refusal(folder, found, init.new_layers, weights))
    with torch.no_grad():
        for name, weight in weights.items():
            if layer_of(name) not in init.new_layers:
                weight.copy_(stored[name])
    _log.info(
        "began with the weights of job %s after %d steps, %s; drawn anew: %s; left behind: %s",
        manifest.job_id,
        manifest.step,
        folder,
        ", ".join(init.new_layers) or "none",
        ", ".join(_layers(stored, but=_layers(weights))) or "none",
    )
    changes = _changes(manifest.model, model)
    if changes:
        _log.warning("the weights were learned by another network: %s", "; ".join(changes))
    return StartedFrom(
        checkpoint=str(folder),
        job_id=manifest.job_id,
        step=manifest.step,
        weights_sha256=manifest.files[WEIGHTS_NAME].sha256,
        new_layers=init.new_layers,
    )


def check_beginning(folder: Path, began: StartedFrom | None, init: InitFrom | None) -> None:
    """Raise OtherSpecError where a run's own checkpoint began with other weights than are named.

    Nothing is compared where the weights that are named are no longer there, or cannot be read: a
    resume needs none.
    """
    if began is None or init is None:
        return
    try:
        named = read_manifest(Path(init.checkpoint))
    except (CheckpointError, OSError):
        return
    if named.files[WEIGHTS_NAME].sha256 != began.weights_sha256:
        raise OtherSpecError(
            folder,
            f"began with the weights of job {began.job_id} after {began.step} steps, and {_FIELD} "
            f"names others, of job {named.job_id} after {named.step}; name the former, or start a "
            "new job",
        )


def misfits(stored: Shapes, wanted: Shapes, new_layers: Collection[str]) -> dict[str, str]:
    """Say of each layer of the network that is not new and does not fit, what does not.

    A layer fits if the checkpoint has its parameters, in the same shapes, and no others of it: half
    of a layer, where the network has one tower and the checkpoint two, is another layer.
    """
    kept = _layers(wanted, but=new_layers)
    found: dict[str, str] = {}
    for name in {**wanted, **stored}:
        layer = layer_of(name)
        if layer in kept and stored.get(name) != wanted.get(name):
            found.setdefault(layer, _misfit(name, stored.get(name), wanted.get(name)))
    return found


def layer_of(parameter: str) -> str:
    """Return the layer that a parameter belongs to: conv1 of towers.0.conv1.weight."""
    return parameter.rpartition(".")[0].rpartition(".")[2]


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _layers(parameters: Collection[str], *, but: Collection[str] = ()) -> list[str]:
    """Return the layers of parameters, each once, in their order."""
    found = dict.fromkeys(map(layer_of, parameters))
    return [layer for layer in found if layer not in but]


def _changes(before: ModelSpec | None, now: ModelSpec) -> list[str]:
    """Say what of a network's description, but its classes, is not as it was."""
    if before is None:
        return []
    # How weights are drawn does not matter where they are taken.
    was, is_now = (each.model_dump(exclude={"num_classes", "init"}) for each in (before, now))
    return [
        f"model.{field} was {was[field]} and is {value}"
        for field, value in is_now.items()
        if was[field] != value
    ]


def _misfit(name: str, there: tuple[int, ...] | None, here: tuple[int, ...] | None) -> str:
    if there is None:
        return f"{name} is not in it"
    if here is None:
        return f"{name} is in it, but not in the network"
    return f"{name} is {there} in it and {here} in the network"


def _refusal(
    folder: Path,
    found: Mapping[str, str],
    new_layers: Collection[str],
    weights: Mapping[str, Tensor],
) -> str:
    mended = [layer for layer in _layers(weights) if layer in found or layer in new_layers]
    problem = (
        f"init_from: checkpoint {folder} does not fit the network: {'; '.join(found.values())}"
    )
    other_network = "set model as it is in its checkpoint.json"
    if mended == _layers(weights):
        return f"{problem}; nothing of it would be left, so {other_network}"
    names = ", ".join(f'"{layer}"' for layer in mended)
    return f"{problem}; draw these layers anew by new_layers = [{names}], or {other_network}"
