"""Named starting points for a spec. A request names one and overrides what it likes."""

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Every default of JobSpec is the paper's.
    "paper": {},
    # Many replicas, each with about the paper's batch: 8 of 128 images, up to 64 of 16. The rate
    # grows with the batch as in Krizhevsky 2014 ("One weird trick for parallelizing convolutional
    # neural networks"), and rises to that over five epochs as in Goyal et al. 2017 ("Accurate,
    # large minibatch SGD", section 2.2). Not yet trained to its end here.
    "large_batch": {
        "data": {"num_streams": 64},
        "optim": {"global_batch_size": 1024, "rate_scaling": "linear", "warmup_epochs": 5},
    },
    # A quarter-width net on 64-pixel crops that learns Fashion-MNIST in minutes on two cores.
    # Narrow nets need the variance-preserving init: with std .01 this one stays at chance.
    "small": {
        "model": {
            "width": 0.25,
            "input_size": 64,
            "num_classes": 10,
            "init": "variance_preserving",
        },
        # Measured (docs/LOG.md): .01 at batch 128 learns half as fast and stops at 71 % top-1.
        "optim": {
            "global_batch_size": 64,
            "learning_rate": 0.002,
            "epochs": 12,
            "schedule": {"kind": "steps", "epochs": [9]},
        },
        # Every shoe of Fashion-MNIST points the same way: a mirrored one is another problem.
        "augment": {"mirror": False},
        "evaluation": {"protocol": "centre_crop"},
        "checkpoint": {"interval_steps": 100},
    },
}


class UnknownPresetError(ValueError):
    """The request names a preset that does not exist."""

    def __init__(self, name: object) -> None:
        super().__init__(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")


def expand_preset(request: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the `preset` key of a request by the preset's fields; the request's own win."""
    own = {key: value for key, value in request.items() if key != "preset"}
    if "preset" not in request:
        return own
    name = request["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        raise UnknownPresetError(name)
    return _merge(PRESETS[name], own)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and _same_kind(below, value):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    # A tagged union is replaced whole: the other variant's fields would not fit.
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))
