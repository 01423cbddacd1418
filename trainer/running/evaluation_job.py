"""An attempt of kind evaluate: checkpoints measured on the validation set. Nothing is trained.

A step is a global batch of the validation set. Replicas go through them together, as in training,
so that all of them pause or cancel alike. There are no checkpoints of its own and no ledger: an
attempt that follows begins again.
"""

import time

import torch
from torch import Tensor

from data_shards.feeding.reader import Batch
from trainer.attempt.corruption import CorruptionGuard
from trainer.attempt.setting import PROGRESS_EVERY_S, Ended, Ending, Setting, Votes
from trainer.attempt.stopwatch import Stopwatch
from trainer.attempt.watchdog import ITS_END
from trainer.contract.events import Evaluated, Progress, Started
from trainer.contract.run_directory import RunDirectory
from trainer.errors import BadDataError, StaleAttemptError
from trainer.evaluation.classes import Guesses, class_counts
from trainer.evaluation.evaluate import means_of, tally
from trainer.evaluation.members import load_members
from trainer.evaluation.report import write_evaluation_report
from trainer.evaluation.validation_set import ValidationSet
from trainer.running.meter import Meter, timed


def evaluate_checkpoints(setting: Setting) -> Ended:
    """Measure what the spec names and write the report, or stop where a pause or cancel is wanted.

    Raises TrainingError, DataError, CheckpointError or DiskFullError.
    """
    setting.fence.check()
    setting.watchdog.begin("the opening of its data")
    with ValidationSet(setting.order.spec, setting.replicas, setting.devices) as data:
        try:
            return EvaluationJob(setting, data).run()
        finally:
            setting.watchdog.stand(ITS_END)


class EvaluationJob:
    """One pass of the validation set through all networks."""

    def __init__(self, setting: Setting, data: ValidationSet) -> None:
        self._setting = setting
        self._spec = setting.order.spec
        self._data = data
        setting.watchdog.begin("the loading of its weights")
        self._networks = load_members(self._spec, data, setting.devices)
        self._corruption = CorruptionGuard(
            self._spec.data.corrupt_sample_limit, setting.replicas, setting.report
        )
        self._stopwatch = Stopwatch()
        setting.metrics.follow(self._stopwatch.unread)
        self._meter = Meter(self._stopwatch)
        self._sums = torch.zeros(1 + len(self._networks), 4, dtype=torch.float64)
        """As `tally` returns them, of all batches and all replicas so far."""
        self._guesses = Guesses()

    def run(self) -> Ended:
        """Take the steps."""
        self._setting.watchdog.begin("its first step")
        self._report_started()
        begun = time.monotonic()
        self._meter.restart()
        self._stopwatch.restart()
        num_steps = self._data.num_batches
        counted = self._setting.metrics.counted(self._data.batches(), "validation")
        fed = self._setting.watchdog.fed(counted, self._data.reader)
        batches = self._corruption.watch(num_steps, fed)
        for step, (batch, wait_s) in enumerate(timed(batches, self._stopwatch), start=1):
            with self._stopwatch.within("forward"):
                sums, votes = self._take_step(batch)
            self._setting.watchdog.note_step()
            if votes.disowned:
                raise StaleAttemptError("the control plane refused this attempt's events")
            self._check_finite(sums)
            self._sums += sums
            num_images, loss_sum, _, _ = sums[0].tolist()
            step_s = self._meter.add(loss_sum=loss_sum, num_images=num_images, wait_s=wait_s)
            self._setting.metrics.note_step(step_s)
            if step == num_steps or self._meter.elapsed_s >= PROGRESS_EVERY_S:
                self._report_progress(step)
            if step < num_steps and (votes.cancel or votes.pause):
                ending: Ending = "cancelled" if votes.cancel else "paused"
                return Ended(ending, step)
        self._setting.watchdog.stand(ITS_END)
        self._conclude(seconds=time.monotonic() - begun)
        return Ended("succeeded", num_steps)

    def _take_step(self, batch: Batch) -> tuple[Tensor, Votes]:
        """Return the batch's sums over all replicas, and what was decided meanwhile."""
        own = tally(
            [loaded.member for loaded in self._networks],
            batch,
            micro_batch_size=self._spec.optim.micro_batch_size or self._spec.replica_batch_size,
            guesses=self._guesses,
        )
        votes = self._setting.votes()
        numbers = own.flatten().tolist()
        with self._stopwatch.within("all_reduce"):
            *sums, pause, cancel, disowned = self._setting.replicas.sum(
                *numbers, votes.pause, votes.cancel, votes.disowned
            )
        # (4 + 4m,) -> (1 + m, 4)
        return (
            torch.tensor(sums, dtype=torch.float64).view_as(self._sums),
            Votes(pause=pause > 0, cancel=cancel > 0, disowned=disowned > 0),
        )

    def _check_finite(self, sums: Tensor) -> None:
        for place, loaded in enumerate(self._networks):
            if not sums[1 + place].isfinite().all():
                raise BadDataError(
                    f"evaluation.checkpoints.{place}: the loss of {loaded.checkpoint.folder} is "
                    "not finite, so nothing can be said of it; name another"
                )

    def _conclude(self, *, seconds: float) -> None:
        """Tell the result, and write it down as long as the attempt is current."""
        together, *alone = (means_of(row) for row in self._sums.tolist())
        self._setting.report(
            Evaluated(
                step=self._data.num_batches,
                epoch=1.0,
                num_samples=together.num_samples,
                loss=together.loss,
                top1=together.top1,
                top5=together.top5,
                protocol=self._spec.evaluation.protocol,
                seconds=seconds,
            )
        )
        classes = self._data.manifests.validation.classes
        counted = self._guesses.counted(self._setting.replicas, len(classes))
        if self._setting.replicas.rank == 0:
            self._setting.fence.check()
            write_evaluation_report(
                RunDirectory(self._setting.attempt.run),
                self._setting.order,
                together,
                list(zip(self._networks, alone, strict=True)),
                manifests=self._data.manifests,
                skipped_by_reason=self._corruption.by_reason("validation"),
                images_per_second=self._meter.mean_images_per_second,
                seconds=seconds,
            )
            step, names = self._data.num_batches, [entry.name for entry in classes]
            counts = class_counts(
                counted, names, step=step, protocol=self._spec.evaluation.protocol
            )
            self._setting.draw(step=step, epoch=1.0, has_checkpoint=False, counts=counts)

    def _report_started(self) -> None:
        identities = self._setting.replicas.gather((self._setting.pid, self._setting.gpu_ids))
        self._setting.report(
            Started(
                start_step=0,
                planned_steps=self._data.num_batches,
                steps_per_epoch=self._data.num_batches,
                worker_pids=tuple(pid for pid, _ in identities),
                devices=tuple(map(str, self._setting.devices)),
                gpu_ids=tuple(gpu_ids for _, gpu_ids in identities),
            )
        )

    def _report_progress(self, step: int) -> None:
        means = self._meter.read()
        assert means is not None, "a step was taken"
        self._setting.metrics.note_phases(means.total_phase_seconds)
        self._setting.report(
            Progress(
                step=step,
                epoch=step / self._data.num_batches,
                planned_steps=self._data.num_batches,
                loss=means.loss,
                learning_rate=0.0,
                images_per_second=means.images_per_second,
                data_wait_ratio=means.data_wait_ratio,
                phase_seconds=dict(means.phase_seconds),
            )
        )
