"""How far a job is, how long it still takes and what holds it up: pure."""

from collections.abc import Mapping
from typing import get_args

from trainer.contract.events import Evaluated, Phase, Progress
from trainer.contract.spec import JobSpec

# From which share of a step on a phase is what to look at first, and what to do. Assumed: below
# these the mend would gain less than a run's own noise, or, of checkpoints, one stall among a
# second's steps would look like a rule.
_TROUBLES: Mapping[Phase, tuple[float, str]] = {
    "data_wait": (0.10, "waiting on data {share} of the step: raise data.num_loader_processes"),
    "transfer": (0.30, "preparing batches {share} of the step: train on a GPU, or with more CPUs"),
    "all_reduce": (
        0.25,
        "waiting for the other replicas' gradients {share} of the step: raise "
        "optim.global_batch_size, or ask for fewer replicas",
    ),
    "optimizer": (0.30, "updating weights {share} of the step: raise optim.global_batch_size"),
    "checkpoint": (
        0.20,
        "standing for checkpoints {share} of the step: raise checkpoint.interval_steps",
    ),
    "other": (0.20, "writing ledger and events {share} of the step: use a faster run root"),
}

_COMPUTING: tuple[Phase, ...] = ("forward", "exchange", "backward", "compute")


def fraction(progress: Progress) -> float:
    """Return the share of the job's steps that are done, 0 to 1."""
    if progress.planned_steps <= 0:
        return 1.0
    return min(max(progress.step / progress.planned_steps, 0.0), 1.0)


def seconds_left(spec: JobSpec, progress: Progress, evaluation: Evaluated | None) -> float | None:
    """Return the seconds to the end at the present rate, None if that is unknown.

    The rate has the stalls of checkpoints in it but not evaluations, one of which follows every
    epoch and the last step: each is taken to last as long as the latest did. While none has said
    how long it took, they are left out, as is one by another protocol at the end.
    """
    if progress.images_per_second <= 0:
        return None
    steps = max(progress.planned_steps - progress.step, 0)
    training_s = steps * spec.optim.global_batch_size / progress.images_per_second
    if evaluation is None or evaluation.seconds is None:
        return training_s
    return training_s + evaluations_left(spec, progress) * evaluation.seconds


def evaluations_left(spec: JobSpec, progress: Progress) -> int:
    """Return how often the network is still measured by the centre crop."""
    if spec.kind != "train" or progress.epoch <= 0 or progress.step <= 0:
        return 0
    steps_per_epoch = max(round(progress.step / progress.epoch), 1)
    ends = progress.planned_steps // steps_per_epoch - progress.step // steps_per_epoch
    ends_within_an_epoch = progress.planned_steps % steps_per_epoch > 0
    is_done = progress.step >= progress.planned_steps
    return 0 if is_done else ends + ends_within_an_epoch


def bottleneck(progress: Progress) -> str | None:
    """Say in a sentence what takes the time of a step, and what to do; None if that is unknown.

    Evaluation is no part of a step. Attempts of release 0.1 tell of their wait for data alone.
    """
    seconds = {phase: progress.phase_seconds.get(phase, 0.0) for phase in get_args(Phase)}
    del seconds["evaluation"]
    step_s = sum(seconds.values())
    if step_s <= 0:
        return _sentence("data_wait", progress.data_wait_ratio)
    shares = {phase: spent_s / step_s for phase, spent_s in seconds.items()}
    for phase in sorted(_TROUBLES, key=lambda phase: shares[phase], reverse=True):
        if (sentence := _sentence(phase, shares[phase])) is not None:
            return sentence
    return f"computing {_percent(sum(shares[phase] for phase in _COMPUTING))} of the step"


def _sentence(phase: Phase, share: float) -> str | None:
    threshold, sentence = _TROUBLES[phase]
    return sentence.format(share=_percent(share)) if share >= threshold else None


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
