"""The training loop of one replica. Knows neither Ray nor HTTP.

Every replica runs it in step with the others: all decisions follow from the spec, the step and
values summed over replicas. Rank 0 alone reports and writes checkpoints.

A step counts when it is entered in the ledger. On a GPU that is when the next one is queued, unless
something follows from the step: then it is entered first. So whatever ends the attempt in between
is, to all that remains of it, an end before the step.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from data_shards.feeding.reader import Batch
from trainer.attempt.ledger import Ledger
from trainer.attempt.setting import PROGRESS_EVERY_S, Ended, Ending, EndWanted, Setting
from trainer.attempt.watchdog import ITS_END
from trainer.checkpoints.checkpoint import Checkpointer
from trainer.checkpoints.retention import clear_leftovers, prune
from trainer.contract.checkpoint import WEIGHTS_NAME, CheckpointManifest
from trainer.contract.events import CheckpointSaved, Evaluated
from trainer.contract.pictures import ClassCounts
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import Protocol
from trainer.contract.timetable import Timetable
from trainer.errors import NonFiniteLossError
from trainer.evaluation.classes import Guesses, class_counts
from trainer.evaluation.evaluate import Evaluation, evaluate
from trainer.evaluation.report import write_training_report
from trainer.learning.schedule import after_epoch
from trainer.running.datasets import Datasets
from trainer.running.one_behind import one_behind
from trainer.running.steps import Steps, Taken


def train(setting: Setting) -> Ended:
    """Train from where the order says until the plan is done, or a pause or cancel is wanted.

    Raises TrainingError, DataError, CheckpointError or DiskFullError.
    """
    setting.fence.check()
    if setting.replicas.rank == 0:
        clear_leftovers(setting.attempt)
    with ExitStack() as stack:
        setting.watchdog.begin("the opening of its data")
        datasets = stack.enter_context(
            Datasets(setting.order.spec, setting.replicas, setting.devices)
        )
        ledger = stack.enter_context(Ledger(setting.attempt.ledger(setting.replicas.rank)))
        loop = Loop(setting, datasets, ledger)
        stack.enter_context(loop.checkpointer)
        # First on the way out, whatever ended the steps: a checkpoint in work is waited for next.
        stack.callback(setting.watchdog.stand, ITS_END)
        return loop.run()


class Loop:
    """The state of training and the order in which things happen."""

    def __init__(self, setting: Setting, datasets: Datasets, ledger: Ledger) -> None:
        spec = setting.order.spec
        self._setting = setting
        self._watchdog = setting.watchdog
        self._spec = spec
        self._datasets = datasets
        self._validation = datasets.validation
        self._ledger = ledger
        self._run = RunDirectory(setting.attempt.run)
        self._steps = Steps(setting, datasets, ledger=ledger)
        self._state = self._steps.state
        self._times = Timetable.of(spec, steps_per_epoch=datasets.steps_per_epoch)
        self._evaluation: Evaluation | None = None
        self._saving_since_s = 0.0
        self._counts: dict[int, ClassCounts] = {}
        """Of evaluations whose checkpoint is still to be written, by step; rank 0's alone."""
        self.checkpointer = Checkpointer(
            setting.attempt, check_fence=setting.fence.check, on_saved=self._on_saved
        )

    def run(self) -> Ended:
        """Take the steps that are left."""
        self._steps.report_started(planned_steps=self._times.planned_steps)
        begun = time.monotonic()
        self._steps.restart()
        queued = self._steps.queue(self._times.planned_steps, votes=self._setting.votes)
        for taken in one_behind(queued, at_once=self._decides):
            votes = taken.pending.known.votes
            self._steps.enter(taken)
            self._after_step(pausing=votes.pause)
            if votes.cancel:
                return self._end("cancelled")
            if votes.pause and self._state.step < self._times.planned_steps:
                return self._end("paused")
        try:
            evaluations = self._final_evaluations()
        except EndWanted as wanted:
            return self._end(wanted.ending)
        ended = self._end("succeeded")
        if self._setting.replicas.rank == 0:
            self._setting.fence.check()
            write_training_report(
                self._run,
                self._setting.order,
                evaluations,
                manifests=self._validation.manifests,
                steps=self._state.step,
                steps_per_epoch=self._times.steps_per_epoch,
                validation_skipped=self._steps.corruption.by_reason("validation"),
                images_per_second=self._steps.meter.mean_images_per_second,
                seconds=time.monotonic() - begun,
            )
        return ended

    def _decides(self, taken: Taken) -> bool:
        """Whether a step must be entered before the next is queued; the same in every replica."""
        return taken.decides or self._times.saves(taken.batch.step + 1)

    def _after_step(self, *, pausing: bool) -> None:
        """Do what is due after a step: report, evaluate, drop the rate, checkpoint, in that order.

        So the checkpoint at the end of an epoch holds the schedule that follows from it.
        """
        step = self._state.step
        evaluates = self._times.evaluates(step)
        if evaluates or self._steps.meter.elapsed_s >= PROGRESS_EVERY_S:
            self._report_progress()
        if evaluates:
            evaluation = self._evaluate()
            if self._times.ends_epoch(step):
                self._state.schedule = after_epoch(
                    self._spec.optim.schedule,
                    self._state.schedule,
                    epochs_done=step // self._times.steps_per_epoch,
                    error=1 - evaluation.top1,
                )
        if pausing or self._times.saves(step):
            with self._steps.stopwatch.within("checkpoint"), self._watchdog.within("a checkpoint"):
                self._save_checkpoint()
        self.checkpointer.raise_if_failed()

    def _evaluate(self) -> Evaluation:
        """Measure by the centre crop, as at the end of every epoch."""
        guesses = Guesses()
        evaluation = self._measure("centre_crop", self._validation_batches(), guesses)
        self._count_classes(guesses)
        self._state.top1, self._state.top5 = evaluation.top1, evaluation.top5
        self._evaluation = evaluation
        return evaluation

    def _count_classes(self, guesses: Guesses) -> None:
        classes = self._validation.manifests.validation.classes
        counted = guesses.counted(self._setting.replicas, len(classes))
        if self._setting.replicas.rank == 0:
            step, names = self._state.step, [entry.name for entry in classes]
            self._counts[step] = class_counts(counted, names, step=step, protocol="centre_crop")

    def _final_evaluations(self) -> list[tuple[Protocol, Evaluation]]:
        """Return what the job came to, by the centre crop and by the spec's protocol.

        Raises EndWanted: ten views of a large set take minutes.
        """
        # An attempt may resume after the last step, to find its report unwritten.
        evaluations: list[tuple[Protocol, Evaluation]] = [
            ("centre_crop", self._evaluation or self._evaluate())
        ]
        if (protocol := self._spec.evaluation.protocol) != "centre_crop":
            batches = self._setting.heeding(self._validation_batches())
            evaluations.append((protocol, self._measure(protocol, batches)))
        return evaluations

    def _validation_batches(self) -> Iterator[Batch]:
        counted = self._setting.metrics.counted(self._validation.batches(), "validation")
        return self._watchdog.fed(counted, self._validation.reader)

    def _measure(
        self, protocol: Protocol, batches: Iterable[Batch], guesses: Guesses | None = None
    ) -> Evaluation:
        begun = time.monotonic()
        with self._steps.stopwatch.within("evaluation"), self._watchdog.within("an evaluation"):
            evaluation = evaluate(
                self._validation.member(self._state.network, self._spec.model, protocol),
                self._steps.corruption.watch(self._state.step, batches),
                self._setting.replicas,
                micro_batch_size=self._spec.optim.micro_batch_size or self._spec.replica_batch_size,
                guesses=guesses,
            )
        if not math.isfinite(evaluation.loss):
            raise NonFiniteLossError(step=self._state.step, layer=None)
        self._setting.report(
            Evaluated(
                step=self._state.step,
                epoch=self._times.epochs(self._state.step),
                num_samples=evaluation.num_samples,
                loss=evaluation.loss,
                top1=evaluation.top1,
                top5=evaluation.top5,
                protocol=protocol,
                seconds=time.monotonic() - begun,
            )
        )
        self._steps.meter.restart()
        return evaluation

    def _save_checkpoint(self) -> None:
        # No checkpoint counts a step that a replica's ledger may lack: every ledger is on disk
        # before any replica is past the sum.
        self._ledger.sync()
        self._setting.replicas.sum(0)
        if self._setting.replicas.rank != 0:
            return
        manifest = self._state.manifest(
            self._setting.order, steps_per_epoch=self._times.steps_per_epoch
        )
        # One that is still being written is told of by its own time.
        self.checkpointer.wait()
        self._saving_since_s = time.monotonic()
        self.checkpointer.save(manifest, self._state.weights, self._state.rule.velocity)

    def _on_saved(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Tell of a checkpoint, prune older ones, have it drawn; called in its thread."""
        self._setting.metrics.note_checkpoint(time.monotonic() - self._saving_since_s)
        self._setting.report(
            CheckpointSaved(
                step=manifest.step,
                epoch=manifest.epoch,
                path=str(folder.relative_to(self._run.path)),
                size_bytes=sum(file.size_bytes for file in manifest.files.values()),
                weights_sha256=manifest.files[WEIGHTS_NAME].sha256,
                top1=manifest.top1,
            )
        )
        resume_from = self._setting.order.resume_from
        resumed_from = None if resume_from is None else self._run.path / resume_from
        self._setting.fence.check()
        prune(self._setting.attempt, self._spec.checkpoint, resumed_from)
        self._setting.draw(
            step=manifest.step,
            epoch=manifest.epoch,
            has_checkpoint=True,
            counts=self._counts.pop(manifest.step, None),
        )

    def _report_progress(self) -> None:
        self._steps.report_progress(planned_steps=self._times.planned_steps)

    def _end(self, ending: Ending) -> Ended:
        self._watchdog.stand(ITS_END)
        self._report_progress()
        self.checkpointer.wait()
        return Ended(ending, self._state.step)
