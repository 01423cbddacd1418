"""One replica's part in an attempt: the loop with its surroundings, and how it ended."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial

import httpx
import torch

from data_shards.manifest import MANIFEST_NAME
from trainer.attempt.attempt_folder import write_outcome
from trainer.attempt.failures import Failure, write_failure
from trainer.attempt.fence import Fence
from trainer.attempt.hang import end_hung
from trainer.attempt.pulse import Pulse, read_pulses, write_pulse
from trainer.attempt.replica_metrics import ReplicaMetrics
from trainer.attempt.reporter import Reporter, post_to
from trainer.attempt.setting import Setting, draw_nothing
from trainer.attempt.watchdog import Watchdog
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.confinement import ConfinementError, confined_location
from trainer.contract.death import MORE_MEMORY
from trainer.contract.events import AttemptEventData, Finished
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import Desired
from trainer.devices import machine
from trainer.devices.replicas import Replicas
from trainer.errors import BadSpecError, is_of_another, reason_of
from trainer.pictures.painter import Painter, are_wanted, needs_bytes
from trainer.running.calibration_job import calibrate
from trainer.running.evaluation_job import evaluate_checkpoints
from trainer.running.loop import train

_log = logging.getLogger(__name__)

_WORK = {"train": train, "evaluate": evaluate_checkpoints, "calibrate": calibrate}

Watch = Callable[[AttemptEventData], None]
# Has what a replica measures seen as long as it is entered.
Publish = Callable[[ReplicaMetrics], AbstractContextManager[object]]


def run_replica(
    order: AttemptOrder,
    attempt: AttemptDirectory,
    devices: tuple[torch.device, torch.device],
    *,
    gpu_ids: tuple[str, ...] = (),
    watch: Watch = lambda _: None,
    publish: Publish = nullcontext,
) -> Outcome:
    """Run this process's replica to the end and return the outcome; raises what ended it."""
    refuse_outside_roots(order)
    machine.settle(devices, num_threads=order.spec.scale.cpus_per_replica)
    replicas = Replicas(*devices)
    with ExitStack() as stack:
        reporter = _open_reporter(order, attempt, watch, stack) if replicas.rank == 0 else None
        watchdog = stack.enter_context(_open_watchdog(order, attempt, replicas))
        draws = replicas.rank == 0 and are_wanted()
        painter = stack.enter_context(_painter(order, attempt)) if draws else None
        metrics = ReplicaMetrics(order.job_id, replicas.rank)
        stack.enter_context(publish(metrics))
        setting = Setting(
            order=order,
            attempt=attempt,
            replicas=replicas,
            devices=devices,
            pid=os.getpid(),
            gpu_ids=gpu_ids,
            report=reporter.emit if reporter else lambda _: None,
            watchdog=watchdog,
            metrics=metrics,
            draw=painter.draw if painter else draw_nothing,
            desired=lambda: reporter.desired if reporter else Desired.RUN,
            disowned=lambda: reporter is not None and reporter.disowned,
            fence=Fence(
                attempt,
                disowned=lambda: reporter is not None and reporter.disowned,
                fence=order.fence,
            ),
        )
        ended = _WORK[order.spec.kind](setting)
        # Whoever pauses or cancels waits for the devices. What has its report has succeeded, and
        # is to say so before it is stopped for a cancel that came meanwhile.
        if painter and ended.ending == "succeeded":
            painter.finish(is_in_the_way=lambda: setting.desired() is not Desired.RUN)
        setting.report(Finished(outcome=ended.ending, step=ended.step))
        return Outcome(outcome=ended.ending, step=ended.step)


def refuse_outside_roots(order: AttemptOrder) -> None:
    """Look again at where the data lie: since the job was accepted, links may have been laid.

    Raises BadSpecError.
    """
    if order.data_roots is None:
        return
    mend = "lay the data below one of them again"
    for split in ("train", "validation"):
        try:
            location = getattr(order.spec.data, split)
            confined_location(location, order.data_roots, MANIFEST_NAME, mend=mend)
        except ConfinementError as error:
            raise BadSpecError(f"data.{split}: {error}") from error


def failure(error: BaseException) -> Outcome:
    """Return the outcome that an error means."""
    reason = reason_of(error)
    foreseen = reason is not Reason.CRASHED
    message = str(error) if foreseen else f"{type(error).__name__}: {error}"
    if reason is Reason.OUT_OF_MEMORY:
        message = f"out of memory: {MORE_MEMORY} ({type(error).__name__}: {error})"
    return Outcome(outcome="failed", reason=reason, message=message)


@contextmanager
def record_failure(attempt: AttemptDirectory, rank: int) -> Iterator[None]:
    """Write an error to the attempt's folder on its way out.

    So whoever started the replicas learns the reason even where it only sees them die.
    """
    try:
        yield
    except Exception as error:
        outcome = failure(error)
        unforeseen = error if outcome.reason is Reason.CRASHED else None
        _log.error("replica %d failed: %s", rank, outcome.message, exc_info=unforeseen)
        try:
            write_failure(attempt, rank, Failure(outcome=outcome, follows=is_of_another(error)))
        except OSError as unwritten:
            # What ended the replica must not be lost behind a disk that is full.
            _log.warning("replica %d could not write its failure: %s", rank, unwritten)
        raise


def record_outcome(attempt: AttemptDirectory, outcome: Outcome) -> Outcome:
    """Write how the attempt ended, as its last act; where that cannot be, only say so."""
    try:
        return write_outcome(attempt, outcome)
    except OSError as unwritten:
        _log.warning("the outcome could not be written: %s", unwritten)
        return outcome


def _painter(order: AttemptOrder, attempt: AttemptDirectory) -> Painter:
    return Painter(attempt, needs_bytes=needs_bytes(order.spec))


def _open_watchdog(order: AttemptOrder, attempt: AttemptDirectory, replicas: Replicas) -> Watchdog:
    """Return rank 0's, which judges, or another's, which tells rank 0 how that one gets on."""

    def tell(pulse: Pulse) -> None:
        with suppress(OSError):
            write_pulse(attempt, replicas.rank, pulse)

    def sign(_: Pulse) -> None:
        # Where its disk is away, the control plane cannot see it either.
        with suppress(OSError):
            os.utime(attempt.events)

    if replicas.rank != 0:
        return Watchdog(on_sign=tell)
    retry = order.spec.retry
    return Watchdog(
        factor=retry.hang_factor,
        floor_s=retry.hang_floor_s,
        num_replicas=replicas.size,
        on_hang=partial(end_hung, attempt),
        on_sign=sign,
        read_others=partial(read_pulses, attempt, replicas.size),
    )


def _open_reporter(
    order: AttemptOrder, attempt: AttemptDirectory, watch: Watch, stack: ExitStack
) -> Reporter:
    if order.control_plane_url is None:
        return stack.enter_context(Reporter(attempt.events, post=None, watch=watch))
    # Straight to the control plane, whatever proxies the environment names.
    client = httpx.Client(trust_env=False)
    return stack.enter_context(
        Reporter(
            attempt.events,
            post=post_to(order, attempt, client),
            # Closed by the one who posts, so that it is never closed on a post.
            on_last_post=client.close,
            watch=watch,
        )
    )
