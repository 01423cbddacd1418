"""What networks make of the validation set: top-1, top-5 and loss (paper sections 4.1 and 6).

A network's softmaxes over the views of an image are averaged, and those of the networks of an
ensemble too. The mean is taken of logarithms, in double precision, so that what one view holds to
be all but impossible leaves a finite loss.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor

from data_shards.feeding.reader import Batch
from trainer.devices.replicas import Replicas
from trainer.devices.upload import upload
from trainer.errors import BadDataError
from trainer.evaluation.classes import Guesses
from trainer.evaluation.views import View
from trainer.learning.preprocess import Preprocess
from trainer.network.alexnet import AlexNet

_TOP = 5


@dataclass(frozen=True)
class Member:
    """A network with the views of an image that it is shown: one of an ensemble, or all of it."""

    network: AlexNet
    preprocess: Preprocess
    views: tuple[View, ...]

    def log_probabilities(self, batch: Batch, *, micro_batch_size: int) -> Tensor:
        """Return float64 (n, classes): of whole images, logarithms of the views' mean softmax."""
        parts = list(_parts(len(batch.labels), micro_batch_size))
        total: Tensor | None = None
        for view in self.views:
            images = self.preprocess(view.of(batch))
            logits = [self.network((images[0][part], images[1][part])).double() for part in parts]
            seen = torch.cat(logits).log_softmax(1)
            total = seen if total is None else torch.logaddexp(total, seen)
        assert total is not None, "a protocol has a view"
        return total - math.log(len(self.views))


@dataclass(frozen=True)
class Evaluation:
    """Means over the validation samples that could be read."""

    num_samples: int
    loss: float
    top1: float
    top5: float


def evaluate(
    member: Member,
    batches: Iterable[Batch],
    replicas: Replicas,
    *,
    micro_batch_size: int,
    guesses: Guesses | None = None,
) -> Evaluation:
    """Evaluate one network on this replica's share of whole images; sum over all replicas.

    `guesses` is given those of each sample.

    Raises BadDataError, in every replica, when no sample could be read: of none there is no mean.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=member.network.fc8.weight.device)
    for batch in batches:
        sums += tally([member], batch, micro_batch_size=micro_batch_size, guesses=guesses)[0]
    return means_of(replicas.sum(*sums.tolist()))


@torch.no_grad()
def tally(
    members: Sequence[Member],
    batch: Batch,
    *,
    micro_batch_size: int,
    guesses: Guesses | None = None,
) -> Tensor:
    """Return float64 (1 + m, 4) sums of a batch: of the ensemble, then of each member alone.

    Samples, loss, right at the first guess, right within five guesses. What is not real weighs
    zero. The members have the same number of classes. `guesses` is given the ensemble's.
    """
    # (m, n, classes)
    alone = torch.stack(
        [member.log_probabilities(batch, micro_batch_size=micro_batch_size) for member in members]
    )
    together = alone.logsumexp(0) - math.log(len(members))
    labels = upload(batch.labels, alone.device)
    real = upload(batch.real, alone.device)
    judged = [(one, _best(one)) for one in (together, *alone)]
    if guesses is not None:
        guesses.add(judged[0][1], batch)
    return torch.stack([_sums(one, best, labels, real) for one, best in judged])


def means_of(sums: Sequence[float]) -> Evaluation:
    """Return the means of one row of sums, taken over all replicas. Raises BadDataError."""
    num_samples, loss, top1, top5 = sums
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


def _best(log_probabilities: Tensor) -> Tensor:
    """Return the five best guesses: (n, classes) -> (n, 5), or fewer where there are."""
    return log_probabilities.topk(min(_TOP, log_probabilities.shape[1]), dim=1).indices


def _sums(log_probabilities: Tensor, best: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Return float64 (4,): samples, loss, top-1 and top-5 hits of (n, classes)."""
    losses = F.nll_loss(log_probabilities, labels, reduction="none")
    hits = (best == labels[:, None]) & real[:, None]
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
