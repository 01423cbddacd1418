"""Events in words."""

import pytest

from service.jobs.events import Edited, JobEventData, Resized, StatusChanged
from service.ui.job.told import in_words
from trainer.contract.attempt import Reason
from trainer.contract.events import (
    CheckpointSaved,
    Evaluated,
    Finished,
    SamplesSkipped,
    Started,
)
from trainer.contract.status import Status


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (StatusChanged(before=None, after=Status.QUEUED), "Queued"),
        (
            StatusChanged(
                before=Status.RUNNING,
                after=Status.RETRYING,
                reason=Reason.LOST_NODE,
                message="node 3 is gone",
            ),
            "Running → retrying: lost node: node 3 is gone",
        ),
        (Resized(before=2, after=4), "replicas: 2 before, 4 from now on"),
        (
            Edited(priority=3, labels={"a": "b", "c": None}),
            "priority 3, label a=b, label c removed",
        ),
        (
            Started(
                start_step=1200,
                planned_steps=9000,
                steps_per_epoch=10,
                worker_pids=(1,),
                devices=("cpu",),
            ),
            "training begins after 1,200 steps",
        ),
        (
            Evaluated(
                step=40, epoch=4, num_samples=9, loss=1.25, top1=0.6, top5=0.8, protocol="ten_view"
            ),
            "step 40, ten views: top-1 error 40.0 %, top-5 error 20.0 %, loss 1.25",
        ),
        (
            CheckpointSaved(
                step=40, epoch=4, path="p", size_bytes=2_500_000, weights_sha256="0", top1=None
            ),
            "after 40 steps, 2.5 MB",
        ),
        (
            SamplesSkipped(step=1, samples=("a.tar:1",), reason="no JPEG", total=1),
            "skipped a.tar:1: no JPEG",
        ),
        (Finished(outcome="paused", step=7), "paused after 7 steps"),
    ],
)
def test_an_event_is_told_in_words(data: JobEventData, text: str) -> None:
    assert in_words(data) == text
