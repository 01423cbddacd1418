"""One step: forward, backward, sums over micro-batches and replicas, update."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn

from data_shards.reader import Batch
from trainer.buckets import Buckets
from trainer.contract.spec import JobSpec
from trainer.dropout import DropoutDraw
from trainer.errors import NonFiniteLossError
from trainer.network import AlexNet, Conv, Linear
from trainer.preprocess import Preprocess
from trainer.replicas import Replicas
from trainer.setting import Votes
from trainer.update_rule import UpdateRule


@dataclass(frozen=True)
class StepResult:
    """Sums over all replicas: the same in each of them, so that all decide alike."""

    loss_sum: float
    num_samples: float
    num_corrupt: int
    votes: Votes

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return self.loss_sum / max(self.num_samples, 1)


class TrainStep:
    """Takes this replica's share of a global batch through one update of the weights."""

    def __init__(
        self,
        spec: JobSpec,
        network: AlexNet,
        rule: UpdateRule,
        preprocess: Preprocess,
        replicas: Replicas,
    ) -> None:
        self._seed = spec.seed
        self._batch_size = spec.replica_batch_size
        self._micro_batch_size = spec.optim.micro_batch_size or self._batch_size
        self._network = network
        self._rule = rule
        self._preprocess = preprocess
        self._replicas = replicas
        self._buckets = Buckets(dict(network.named_parameters()), replicas)
        self._device = network.fc8.weight.device
        if replicas.size == 1 and self._micro_batch_size == self._batch_size:
            # Gradients that are added to no others stay in the arithmetic that computed them.
            for parameter in network.parameters():
                parameter.grad_dtype = None

    def __call__(self, batch: Batch, *, learning_rate: float, votes: Votes) -> StepResult:
        """Train on a batch. Raises NonFiniteLossError before the weights are touched."""
        images = self._preprocess(batch)
        labels = torch.from_numpy(batch.labels).to(self._device)
        weights = torch.from_numpy(batch.real).to(self._device, torch.float32)
        first_place = self._replicas.rank * self._batch_size

        self._network.zero_grad(set_to_none=True)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for start in range(0, len(labels), self._micro_batch_size):
            stop = start + self._micro_batch_size
            part = slice(start, stop)
            draw = DropoutDraw(self._seed, batch.step, first_place + start)
            logits = self._network((images[0][part], images[1][part]), draw)
            loss = _loss_sum(logits, labels[part], weights[part])
            self._buckets.backward(loss, is_last=stop >= len(labels))
            loss_sum += loss.detach()

        result = self._sum(loss_sum, weights, len(batch.corrupt), votes)
        if not math.isfinite(result.loss_sum):
            layer = self._find_layer(images, batch.step, first_place)
            raise NonFiniteLossError(step=batch.step, layer=layer)
        self._rule.step(learning_rate=learning_rate, num_samples=max(result.num_samples, 1))
        return result

    def _sum(self, loss_sum: Tensor, weights: Tensor, num_corrupt: int, votes: Votes) -> StepResult:
        own = torch.stack([loss_sum, weights.sum().double()]).tolist()
        summed = self._replicas.sum(*own, num_corrupt, votes.pause, votes.cancel, votes.disowned)
        return StepResult(
            loss_sum=summed[0],
            num_samples=summed[1],
            num_corrupt=int(summed[2]),
            votes=Votes(*(count > 0 for count in summed[3:])),
        )

    def _find_layer(self, images: tuple[Tensor, Tensor], step: int, first_place: int) -> str | None:
        """Name the first layer with an output that is not finite, in any replica."""
        found: list[str] = []

        def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                if not output.isfinite().all():
                    found.append(name)

            return layer.register_forward_hook(hook)

        handles = [
            watch(name, layer)
            for name, layer in self._network.named_modules()
            if isinstance(layer, Conv | Linear)
        ]
        with torch.no_grad():
            for start in range(0, len(images[0]), self._micro_batch_size):
                part = slice(start, start + self._micro_batch_size)
                draw = DropoutDraw(self._seed, step, first_place + start)
                self._network((images[0][part], images[1][part]), draw)
        for handle in handles:
            handle.remove()
        layers = self._replicas.gather(found[0] if found else None)
        return next((layer for layer in layers if layer is not None), None)


def _loss_sum(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the summed cross-entropy of (n, classes) logits; weight zero where not real."""
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * weights).sum()
