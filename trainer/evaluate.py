"""A pass over the validation set: centre crops, top-1, top-5 and loss (paper section 6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor

from data_shards.reader import Batch
from trainer.errors import BadDataError
from trainer.network import AlexNet
from trainer.preprocess import Preprocess
from trainer.replicas import Replicas

_TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """Means over the validation samples that could be read."""

    num_samples: int
    loss: float
    top1: float
    top5: float


@torch.no_grad()
def evaluate(
    network: AlexNet,
    preprocess: Preprocess,
    batches: Iterable[Batch],
    replicas: Replicas,
    *,
    micro_batch_size: int,
) -> Evaluation:
    """Evaluate this replica's share and sum over all replicas.

    Raises BadDataError, in every replica, when no sample could be read: of none there is no mean.
    """
    device = network.fc8.weight.device
    # Sums of: samples, loss, right at the first guess, right within five.
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    for batch in batches:
        images = preprocess(batch)
        labels = torch.from_numpy(batch.labels).to(device)
        real = torch.from_numpy(batch.real).to(device)
        for part in _parts(len(labels), micro_batch_size):
            logits = network((images[0][part], images[1][part])).float()
            sums += _sums(logits, labels[part], real[part])
    num_samples, loss, top1, top5 = replicas.sum(*sums.tolist())
    if num_samples == 0:
        raise BadDataError(
            "data.validation: none of its samples could be read, so nothing can be said of the "
            "network; pack the validation images again"
        )
    return Evaluation(
        num_samples=int(num_samples),
        loss=loss / num_samples,
        top1=top1 / num_samples,
        top5=top5 / num_samples,
    )


def _sums(logits: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Return float64 (4,): samples, loss, top-1 and top-5 hits of (n, classes) logits."""
    losses = F.cross_entropy(logits, labels, reduction="none").double()
    guesses = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices
    hits = (guesses == labels[:, None]) & real[:, None]
    return torch.stack(
        [
            real.sum().double(),
            torch.where(real, losses, 0.0).sum(),
            hits[:, 0].sum().double(),
            hits.any(dim=1).sum().double(),
        ]
    )


def _parts(num_samples: int, micro_batch_size: int) -> Iterator[slice]:
    for start in range(0, num_samples, micro_batch_size):
        yield slice(start, start + micro_batch_size)
