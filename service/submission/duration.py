"""How long a job takes: training, and the passes over the validation set that it makes. Pure."""

from collections.abc import Mapping, Sequence

from service.views.plans import PlannedEvaluations, PlannedSpeed
from trainer.contract.events import Evaluated
from trainer.contract.spec import JobSpec, Protocol
from trainer.contract.timetable import Timetable

# Forward passes of an image (paper section 4.1: five crops and their mirrors).
VIEWS: Mapping[Protocol, int] = {"centre_crop": 1, "ten_view": 10}
# Assumed: backward takes twice what forward does, as it multiplies by weights and by inputs.
_FORWARD_SHARE = 1 / 3


def with_evaluations(
    speed: PlannedSpeed,
    spec: JobSpec,
    *,
    times: Timetable,
    num_images: float,
    num_validation: int,
    timed: Sequence[Evaluated],
    timed_in: str | None = None,
) -> PlannedSpeed:
    """Return the speed of a training job with what its evaluations add to the duration.

    `num_images`: presented in training; `num_validation`: in the validation set; `timed`: the
    evaluations of the job `timed_in`, None: the one the speed is of, the newest first.
    """
    num_passes = -(-times.planned_steps // times.steps_per_epoch)
    protocols: dict[Protocol, int] = {"centre_crop": num_passes}
    if spec.evaluation.protocol != "centre_crop":
        protocols[spec.evaluation.protocol] = 1
    num_views = num_validation * sum(VIEWS[one] * num for one, num in protocols.items())
    rate, timed_in = speed.images_per_second, timed_in or speed.like_job
    seconds_per_image = {
        one.protocol: one.seconds / one.num_samples
        for one in reversed(timed)
        if one.seconds and one.num_samples
    }
    duration_s: float | None
    if rate is None:
        duration_s, basis = None, "not known, as the rate of training is not"
    elif protocols.keys() <= seconds_per_image.keys():
        duration_s = num_validation * sum(
            seconds_per_image[one] * num for one, num in protocols.items()
        )
        basis = f"measured in job {timed_in}"
    elif seconds_per_image:
        protocol, per_image_s = next(iter(seconds_per_image.items()))
        duration_s = num_views * per_image_s / VIEWS[protocol]
        basis = f"measured in job {timed_in} by {protocol}, other protocols by their views"
    else:
        duration_s = num_views * _FORWARD_SHARE / rate
        basis = "assumed: forward alone takes a third of what training an image does"
    evaluations = PlannedEvaluations(
        num_passes=num_passes,
        num_final_passes=len(protocols) - 1,
        images_per_pass=num_validation,
        duration_s=duration_s,
        basis=basis,
    )
    if rate is None or duration_s is None:
        return speed.model_copy(update={"evaluations": evaluations})
    training_s = num_images / rate
    return speed.model_copy(
        update={
            "training_s": training_s,
            "evaluations": evaluations,
            "duration_s": training_s + duration_s,
        }
    )
