"""One step: forward, backward, sums over micro-batches and replicas, update.

On a GPU a step is only queued, and no host waits for it: what decides how it goes on is known to
the hosts, but for the loss, and that the GPU itself looks at (docs/decisions/0008).
"""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn

from data_shards.feeding.reader import Batch
from trainer.attempt.setting import Votes
from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.spec import JobSpec
from trainer.devices.phase_marks import PhaseMarks, marks_on
from trainer.devices.replicas import Replicas
from trainer.devices.upload import upload
from trainer.errors import NonFiniteLossError
from trainer.learning.buckets import Buckets
from trainer.learning.preprocess import Preprocess
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet, Conv, Linear
from trainer.network.dropout import DropoutDraw


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the hosts know of a step when it is queued.

    Summed over all replicas: the same in each of them, so that all decide alike.
    """

    num_samples: int
    num_corrupt: int
    votes: Votes
    rates: tuple[float, ...] = ()
    """Images a second of each replica as it last read them, by rank; of one alone empty."""


@dataclass(frozen=True, kw_only=True)
class StepResult(Known):
    """What a step came to, over all replicas."""

    loss_sum: float

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return self.loss_sum / max(self.num_samples, 1)


class Pending:
    """A step that is queued, and on the CPU is done."""

    def __init__(
        self,
        known: Known,
        loss_sum: Tensor,
        fail: Callable[[], NonFiniteLossError],
        *,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """`loss_sum`, float64 (), is over all replicas; `fail` says what it means, not finite.

        `on_answer` is called when the step is known to be done.
        """
        self.known = known
        self._loss_sum = _Arriving(loss_sum)
        self._fail: Callable[[], NonFiniteLossError] | None = fail
        self._on_answer = on_answer

    @property
    def is_late(self) -> bool:
        """Whether `result` waits for a device."""
        return self._loss_sum.is_late

    def result(self) -> StepResult:
        """Wait for the step and return what it came to.

        Raises NonFiniteLossError in every replica, which all must be here: then neither this step
        nor any that was queued after it has touched the weights.
        """
        loss_sum = self._loss_sum.read()
        self._on_answer()
        if not math.isfinite(loss_sum):
            assert self._fail is not None, "a finite loss remains one"
            raise self._fail()
        # It holds the images.
        self._fail = None
        return StepResult(**vars(self.known), loss_sum=loss_sum)


class _Arriving:
    """A number on its way from a device to the host."""

    def __init__(self, number: Tensor) -> None:
        self._number = number
        self._arrival: torch.cuda.Event | None = None
        if number.is_cuda:
            # Into pinned memory, or the host would wait for the copy here.
            self._number = torch.empty((), dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._arrival = torch.cuda.current_stream(number.device).record_event()

    @property
    def is_late(self) -> bool:
        return self._arrival is not None

    def read(self) -> float:
        if self._arrival is not None:
            self._arrival.synchronize()
        return float(self._number)


def _answers_late(device: torch.device) -> bool:
    """Whether a device takes work for later, so that asking for a result means to wait."""
    return device.type == "cuda"


class TrainStep:
    """Takes this replica's share of a global batch through one update of the weights."""

    def __init__(
        self,
        spec: JobSpec,
        network: AlexNet,
        rule: UpdateRule,
        preprocess: Preprocess,
        replicas: Replicas,
        *,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        """`stopwatch` is told of each phase of a step; when it is read is its owner's affair."""
        self._stopwatch = stopwatch or Stopwatch()
        self._seed = spec.seed
        self._batch_size = spec.replica_batch_size
        self._micro_batch_size = spec.optim.micro_batch_size or self._batch_size
        self._network = network
        self._rule = rule
        self._preprocess = preprocess
        self._replicas = replicas
        self._buckets = Buckets(dict(network.named_parameters()), replicas, self._stopwatch)
        self._device = network.fc8.weight.device
        self._crossing = partial(self._stopwatch.within, "exchange")
        self._answers_late = _answers_late(self._device)
        # 1 since a loss was not finite: what was queued before the host knows must not update.
        self._failed = torch.zeros((), device=self._device)
        if replicas.size == 1 and self._micro_batch_size == self._batch_size:
            # Gradients that are added to no others stay in the arithmetic that computed them.
            for parameter in network.parameters():
                parameter.grad_dtype = None

    def __call__(
        self, batch: Batch, *, learning_rate: float, votes: Votes, own_rate: float = 0.0
    ) -> Pending:
        """Train on a batch, which may be written again at once.

        `own_rate`: this replica's images a second, which the others are told of. Where the loss is
        not finite the weights stay as they are, from then on.
        """
        marks = self._marks()
        self._stopwatch.enter("transfer")
        images = self._preprocess(batch)
        labels = upload(batch.labels, self._device)
        weights = upload(batch.real, self._device).float()
        first_place = self._replicas.rank * self._batch_size

        self._stopwatch.enter("forward")
        self._network.zero_grad(set_to_none=True)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for start in range(0, len(labels), self._micro_batch_size):
            stop = start + self._micro_batch_size
            part = slice(start, stop)
            draw = DropoutDraw(self._seed, batch.step, first_place + start)
            self._stopwatch.enter("forward")
            logits = self._network(
                (images[0][part], images[1][part]), draw, crossing=self._crossing
            )
            loss = _loss_sum(logits, labels[part], weights[part])
            self._stopwatch.enter("backward")
            self._buckets.backward(loss, is_last=stop >= len(labels))
            loss_sum += loss.detach()

        own = Known(
            num_samples=int(batch.real.sum()),
            num_corrupt=len(batch.corrupt),
            votes=votes,
            rates=self._in_its_place(own_rate),
        )
        self._stopwatch.enter("all_reduce")
        known, loss_sum = self._sum(own, loss_sum)
        self._stopwatch.enter("optimizer")
        torch.maximum(self._failed, (~loss_sum.isfinite()).float(), out=self._failed)
        self._rule.step(
            learning_rate=learning_rate, num_samples=max(known.num_samples, 1), skip=self._failed
        )
        self._stopwatch.enter("other")
        self._stopwatch.on_enter = None
        fail = partial(self._failure, images, batch.step, first_place)
        return Pending(known, loss_sum, fail, on_answer=partial(self._hear, marks))

    def _marks(self) -> PhaseMarks | None:
        """Have the phases marked on a GPU, as long as it has told nothing since the last reading.

        A step or two tell how it shares its time, and cost the host little.
        """
        if self._device.type != "cuda" or self._stopwatch.has_heard:
            return None
        marks = marks_on(self._device)
        self._stopwatch.on_enter = marks.begin
        return marks

    def _hear(self, marks: PhaseMarks | None) -> None:
        if marks is not None:
            self._stopwatch.hear(marks.seconds())

    def _in_its_place(self, own_rate: float) -> tuple[float, ...]:
        """Return a rate of each replica, of which those of the others are zero."""
        if self._replicas.size == 1:
            return ()
        ranks = range(self._replicas.size)
        return tuple(own_rate if rank == self._replicas.rank else 0.0 for rank in ranks)

    def _sum(self, own: Known, loss_sum: Tensor) -> tuple[Known, Tensor]:
        """Sum over all replicas: what the hosts know by the hosts, the loss where it is."""
        votes = astuple(own.votes)
        numbers = own.num_samples, own.num_corrupt, *votes, *own.rates
        if self._answers_late:
            if self._replicas.size > 1:
                self._replicas.start_sum(loss_sum).wait()
            summed = self._replicas.sum(*numbers)
        else:
            total, *summed = self._replicas.sum(float(loss_sum), *numbers)
            loss_sum = torch.tensor(total, dtype=torch.float64)
        return Known(
            num_samples=int(summed[0]),
            num_corrupt=int(summed[1]),
            votes=Votes(*(count > 0 for count in summed[2 : 2 + len(votes)])),
            rates=tuple(summed[2 + len(votes) :]),
        ), loss_sum

    def _failure(
        self, images: tuple[Tensor, Tensor], step: int, first_place: int
    ) -> NonFiniteLossError:
        layer = self._find_layer(images, step, first_place)
        return NonFiniteLossError(step=step, layer=layer)

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
