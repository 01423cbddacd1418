"""An attempt of kind calibrate: how fast the job trains, with all its replicas and its data feed.

Steps are taken as in training, and nothing is kept of them: no checkpoint, no ledger, no pass over
the validation set. So an attempt that follows begins again.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace

from trainer.attempt.setting import PROGRESS_EVERY_S, Ended, Setting, Votes
from trainer.attempt.watchdog import ITS_END
from trainer.contract.report import CalibrationReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.timetable import Timetable
from trainer.evaluation.report import write_report
from trainer.running.datasets import Datasets
from trainer.running.meter import Means, overall
from trainer.running.one_behind import one_behind
from trainer.running.steps import Steps, Taken


def calibrate(setting: Setting, *, clock: Callable[[], float] = time.monotonic) -> Ended:
    """Take steps and write the report, or stop where a pause or cancel is wanted.

    Raises TrainingError, DataError, CheckpointError or DiskFullError.
    """
    setting.fence.check()
    with ExitStack() as stack:
        setting.watchdog.begin("the opening of its data")
        datasets = stack.enter_context(
            Datasets(setting.order.spec, setting.replicas, setting.devices)
        )
        stack.callback(setting.watchdog.stand, ITS_END)
        return CalibrationJob(setting, datasets, clock).run()


class CalibrationJob:
    """A warm-up, and then the steps that are measured."""

    def __init__(self, setting: Setting, datasets: Datasets, clock: Callable[[], float]) -> None:
        spec = setting.order.spec
        self._setting = setting
        self._clock = clock
        self._limits = spec.calibration
        self._steps = Steps(setting, datasets)
        self._most_steps = Timetable.of(
            spec, steps_per_epoch=datasets.steps_per_epoch
        ).planned_steps
        self._stop = 0
        """After so many steps the warm-up, or what is measured, is over at the latest."""
        self._since_s = 0.0

    def run(self) -> Ended:
        """Take the steps."""
        self._steps.report_started(planned_steps=self._most_steps)
        queued = one_behind(
            self._steps.queue(self._most_steps, votes=self._votes), at_once=self._decides
        )
        warm_up = self._take(queued, self._limits.warm_up_steps, then=self._limits.steps)
        if isinstance(warm_up, Ended):
            return warm_up
        measured = self._take(queued, self._limits.steps, then=0)
        if isinstance(measured, Ended):
            return measured
        self._setting.watchdog.stand(ITS_END)
        if self._setting.replicas.rank == 0:
            self._setting.fence.check()
            self._write_report(measured, warm_up_steps=warm_up.num_steps)
        return Ended("succeeded", self._steps.state.step)

    def _take(self, queued: Iterable[Taken], num_steps: int, *, then: int) -> Means | Ended:
        """Take up to so many steps, or as many as the time allows; return what they came to.

        Up to `then` steps are to follow; while some are, a pause or a cancel is heeded.
        """
        begun = self._steps.state.step
        self._stop = begun + num_steps
        self._since_s = self._clock()
        self._steps.restart()
        readings: list[Means] = []
        for taken in queued:
            votes = taken.pending.known.votes
            self._steps.enter(taken)
            is_over = votes.enough or self._is_last(taken)
            if is_over or self._steps.meter.elapsed_s >= PROGRESS_EVERY_S:
                left = 0 if is_over else self._stop - self._steps.state.step
                means = self._steps.report_progress(planned_steps=self._foreseen(begun, left, then))
                assert means is not None, "a step was taken"
                readings.append(means)
            if (votes.pause or votes.cancel) and (then or not is_over):
                return Ended("cancelled" if votes.cancel else "paused", self._steps.state.step)
            if is_over:
                break
        return overall(readings)

    def _votes(self) -> Votes:
        votes = self._setting.votes()
        return replace(votes, enough=self._clock() - self._since_s >= self._limits.seconds)

    def _decides(self, taken: Taken) -> bool:
        return taken.decides or self._is_last(taken)

    def _is_last(self, taken: Taken) -> bool:
        return taken.batch.step + 1 == self._stop

    def _write_report(self, measured: Means, *, warm_up_steps: int) -> None:
        run, order = RunDirectory(self._setting.attempt.run), self._setting.order
        report = CalibrationReport(
            job_id=order.job_id,
            name=order.spec.name,
            attempts=run.newest_attempt(),
            images_per_second=measured.images_per_second,
            seconds=measured.seconds,
            steps=measured.num_steps,
            warm_up_steps=warm_up_steps,
            images=round(measured.num_images),
            replicas=order.spec.scale.replicas,
            accelerator=order.accelerator,
            data_wait_ratio=measured.data_wait_ratio,
            phase_seconds=dict(measured.phase_seconds),
        )
        write_report(run, report)

    def _foreseen(self, begun: int, left: int, then: int) -> int:
        """Return how many steps there will be in all, as long as each takes what it took so far."""
        done, elapsed_s = self._steps.state.step, self._clock() - self._since_s
        in_time = math.ceil(self._limits.seconds * (done - begun) / max(elapsed_s, 1e-9))
        return done + min(left, max(begun + in_time - done, 0)) + min(then, in_time)
