"""Small networks, and the settings of torch that an attempt runs under."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-identity holds for a fixed number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_model() -> Callable[..., ModelSpec]:
    """Makes the smallest network that has every layer: eighth width, 64 pixels, 10 classes."""

    def make(**changes: Any) -> ModelSpec:
        fields = {"width": 0.125, "input_size": 64, "num_classes": 10} | {
            "init": "variance_preserving"
        }
        return ModelSpec.model_validate({**fields, **changes})

    return make


@pytest.fixture
def small_network(small_model: Callable[..., ModelSpec]) -> Callable[..., AlexNet]:
    """Makes an initialised network of `small_model`."""

    def make(*, seed: int = 0, **changes: Any) -> AlexNet:
        model = small_model(**changes)
        network = AlexNet(model, [CPU, CPU])
        initialise(network, model, seed=seed)
        return network

    return make


@pytest.fixture
def job(small_model: Callable[..., ModelSpec]) -> Callable[..., JobSpec]:
    """Makes a job that trains `small_model` on data that is not there."""

    def make(**changes: Any) -> JobSpec:
        fields = {
            "name": "test",
            "data": {"train": "nowhere", "validation": "nowhere"},
            "model": small_model(),
            "optim": {"global_batch_size": 8, "learning_rate": 0.01},
        }
        return JobSpec.model_validate({**fields, **changes})

    return make
