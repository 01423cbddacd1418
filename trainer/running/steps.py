"""The steps of training, as a job that trains takes them, and one that calibrates."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

import numpy as np

from data_shards.feeding.reader import Batch
from trainer.attempt.corruption import CorruptionGuard
from trainer.attempt.ledger import Ledger
from trainer.attempt.setting import Setting, Votes
from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.events import Progress, Started
from trainer.errors import StaleAttemptError
from trainer.learning.schedule import learning_rate
from trainer.learning.state import begin
from trainer.learning.train_step import Pending, TrainStep
from trainer.running.datasets import Datasets
from trainer.running.meter import Means, Meter, rates_to_tell, timed


@dataclass(frozen=True)
class Taken:
    """A step that is queued and not yet entered."""

    batch: Batch
    """Its images are no longer to be read."""
    wait_s: float
    pending: Pending

    @property
    def decides(self) -> bool:
        """Whether it must be entered before the next is queued; the same in every replica."""
        known = self.pending.known
        return not self.pending.is_late or known.num_corrupt > 0 or any(astuple(known.votes))


class Steps:
    """Takes batches of the training set through the network, and tells how that goes."""

    def __init__(
        self, setting: Setting, datasets: Datasets, *, ledger: Ledger | None = None
    ) -> None:
        """Begin where the order says; `ledger` None: what is trained is recorded nowhere.

        Raises CheckpointError.
        """
        spec = setting.order.spec
        self._setting = setting
        self._spec = spec
        self._datasets = datasets
        self._ledger = ledger
        setting.watchdog.begin("the loading of its weights")
        self.state = begin(
            setting.order,
            setting.attempt.run,
            setting.devices,
            data_sha256=datasets.validation.manifests.sha256(),
            replicas=setting.replicas,
        )
        self.stopwatch = Stopwatch()
        setting.metrics.follow(self.stopwatch.unread)
        self._train_step = TrainStep(
            spec,
            self.state.network,
            self.state.rule,
            datasets.prepare_train,
            setting.replicas,
            stopwatch=self.stopwatch,
        )
        self.corruption = CorruptionGuard(
            spec.data.corrupt_sample_limit, setting.replicas, setting.report
        )
        self.meter = Meter(self.stopwatch)
        self._rates: tuple[float, ...] = ()
        """Images a second of each replica, as the newest step told of them."""

    def restart(self) -> None:
        """Measure from now on."""
        self.meter.restart()
        self.stopwatch.restart()

    def queue(self, stop: int, *, votes: Callable[[], Votes]) -> Iterator[Taken]:
        """Give the device the steps that are left before `stop`."""
        batches = self._setting.metrics.counted(
            self._datasets.train.batches(self.state.step, stop), "train"
        )
        fed = self._setting.watchdog.fed(batches, self._datasets.train)
        for batch, wait_s in timed(fed, self.stopwatch):
            pending = self._train_step(
                batch,
                learning_rate=self._learning_rate(batch.step),
                votes=votes(),
                own_rate=self.meter.own_images_per_second,
            )
            yield Taken(batch, wait_s, pending)

    def enter(self, taken: Taken) -> None:
        """Wait for a step to be done, enter it in the ledger, and tell what was met in it.

        Raises BadDataError, NonFiniteLossError, StaleAttemptError.
        """
        # Elsewhere it is there already.
        with self.stopwatch.within("compute" if taken.pending.is_late else "other"):
            result = taken.pending.result()
        self._setting.watchdog.note_step()
        batch = taken.batch
        self.state.step = batch.step + 1
        if self._ledger is not None:
            self._ledger.write(
                step=batch.step,
                epoch=batch.epoch,
                loss=result.loss,
                samples=batch.samples[batch.real].tolist(),
                keys=batch.keys and itertools.compress(batch.keys, batch.real.tolist()),
                corrupt=batch.corrupt,
            )
        if result.num_corrupt:
            self.corruption.add(batch.step, "training", batch.corrupt)
        if result.votes.disowned:
            raise StaleAttemptError("the control plane refused this attempt's events")
        self._rates = result.rates
        num_trained = int(np.count_nonzero(batch.real))
        step_s = self.meter.add(
            loss_sum=result.loss_sum,
            num_images=result.num_samples,
            wait_s=taken.wait_s,
            num_own_images=num_trained,
        )
        self._setting.metrics.note_step(step_s, num_trained=num_trained)

    def report_started(self, *, planned_steps: int) -> None:
        """Tell that the first step is about to be taken; every replica must."""
        self._setting.watchdog.begin("its first step")
        identities = self._setting.replicas.gather((self._setting.pid, self._setting.gpu_ids))
        self._setting.report(
            Started(
                start_step=self.state.step,
                planned_steps=planned_steps,
                steps_per_epoch=self._datasets.steps_per_epoch,
                worker_pids=tuple(pid for pid, _ in identities),
                devices=tuple(map(str, self._setting.devices)),
                gpu_ids=tuple(gpu_ids for _, gpu_ids in identities),
                inexact=self.state.inexact,
            )
        )

    def report_progress(self, *, planned_steps: int) -> Means | None:
        """Tell of the steps since it was last told, and return their means; None without any."""
        means = self.meter.read()
        if means is None:
            return None
        self._setting.metrics.note_phases(means.total_phase_seconds)
        self._setting.report(
            Progress(
                step=self.state.step,
                epoch=self.state.step / self._datasets.steps_per_epoch,
                planned_steps=planned_steps,
                loss=means.loss,
                learning_rate=self._learning_rate(self.state.step),
                images_per_second=means.images_per_second,
                data_wait_ratio=means.data_wait_ratio,
                phase_seconds=dict(means.phase_seconds),
                replica_images_per_second=rates_to_tell(self._rates),
            )
        )
        return means

    def _learning_rate(self, step: int) -> float:
        """ε of a step of this epoch or the first of the next, the first of the job being 0."""
        return learning_rate(
            self._spec.optim,
            self.state.schedule,
            step=step,
            steps_per_epoch=self._datasets.steps_per_epoch,
        )
