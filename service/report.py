"""What came of a job, summed from what its attempts reported."""

from collections.abc import Iterable

from service.store.records import JobRecord
from service.views import Report
from trainer.contract.events import Progress
from trainer.contract.status import Status


def report_of(progress: Iterable[Progress], job: JobRecord) -> Report | None:
    """Sum up a job that succeeded; None for any other."""
    if job.status is not Status.SUCCEEDED or job.evaluation is None:
        return None
    num_images, seconds, step = 0, 0.0, 0
    for event in progress:
        # After a restart the count of steps falls back: then the steps since are unknown.
        images = max(event.step - step, 0) * job.spec.optim.global_batch_size
        step = event.step
        if event.images_per_second > 0:
            num_images += images
            seconds += images / event.images_per_second
    return Report(
        top1=job.evaluation.top1,
        top5=job.evaluation.top5,
        images_per_second=num_images / seconds if seconds else 0.0,
        training_seconds=seconds,
    )
