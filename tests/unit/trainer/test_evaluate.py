from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.unit.trainer.batches import make_batch
from trainer.errors import BadDataError
from trainer.evaluate import evaluate
from trainer.network import AlexNet
from trainer.preprocess import Preprocess
from trainer.replicas import Replicas

CPU = torch.device("cpu")
MEAN = np.full((72, 72, 3), 120, dtype=np.float32)

Networks = Callable[..., AlexNet]


@pytest.mark.parametrize("micro_batch_size", [1, 3, 8])
@pytest.mark.parametrize("num_classes", [10, 3])
def test_is_what_numpy_says(
    small_network: Networks, micro_batch_size: int, num_classes: int
) -> None:
    network = small_network(num_classes=num_classes)
    preprocess = Preprocess(MEAN, None, (CPU, CPU), torch.float32)
    # The last batch is short: five places are padding.
    batches = [
        make_batch(seed=1, num_classes=num_classes),
        make_batch(seed=2, num_classes=num_classes),
        make_batch(seed=3, num_classes=num_classes, num_real=3),
    ]
    result = evaluate(
        network, preprocess, batches, Replicas(CPU), micro_batch_size=micro_batch_size
    )
    losses, ranks = [], []
    for batch in batches:
        with torch.no_grad():
            logits = network(preprocess(batch)).double().numpy()
        for row, label in zip(logits[batch.real], batch.labels[batch.real], strict=True):
            losses.append(np.log(np.exp(row - row[label]).sum()))
            ranks.append(int((row > row[label]).sum()))
    assert result.num_samples == len(ranks) == 19
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.top1 == pytest.approx(np.mean(np.array(ranks) < 1))
    assert result.top5 == pytest.approx(np.mean(np.array(ranks) < 5))


def test_padding_weighs_nothing_whatever_it_holds(small_network: Networks) -> None:
    preprocess = Preprocess(MEAN, None, (CPU, CPU), torch.float32)
    network = small_network()

    def of(fill: int) -> object:
        batch = make_batch(num_real=5)
        batch.images[5:] = fill
        batch.labels[5:] = fill % 10
        return evaluate(network, preprocess, [batch], Replicas(CPU), micro_batch_size=8)

    assert of(0) == of(255)


def test_of_no_samples_there_is_no_result(small_network: Networks) -> None:
    preprocess = Preprocess(MEAN, None, (CPU, CPU), torch.float32)
    batch = make_batch(num_real=0)
    with pytest.raises(BadDataError, match=r"data\.validation: none of its samples could be read"):
        evaluate(small_network(), preprocess, [batch], Replicas(CPU), micro_batch_size=8)


def test_leaves_no_gradient(small_network: Networks) -> None:
    network = small_network()
    preprocess = Preprocess(MEAN, None, (CPU, CPU), torch.float32)
    evaluate(network, preprocess, [make_batch()], Replicas(CPU), micro_batch_size=8)
    assert all(weight.grad is None for weight in network.parameters())
