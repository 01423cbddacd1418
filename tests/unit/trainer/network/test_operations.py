import pytest
import torch

from trainer.contract.model_spec import ModelSpec
from trainer.network.operations import activation, pooling


def test_activations_are_what_section_3_1_compares() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert torch.equal(activation(ModelSpec())(x.clone()), torch.tensor([0.0, 0.0, 3.0]))
    assert torch.equal(activation(ModelSpec(activation="tanh"))(x.clone()), torch.tanh(x))


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("size", [4, 5, 13, 55])
def test_a_pool_takes_the_largest_of_each_window(overlapping: bool, size: int) -> None:
    x = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size)
    x = torch.sin(7 * x)
    edge = 3 if overlapping else 2
    expected = torch.tensor(
        [
            [x[0, 0, i : i + edge, j : j + edge].max() for j in range(0, size - 1, 2)]
            for i in range(0, size - 1, 2)
        ]
    )
    assert torch.equal(pooling(ModelSpec(overlapping_pool=overlapping))(x)[0, 0], expected)
