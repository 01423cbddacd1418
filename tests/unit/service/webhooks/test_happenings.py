from typing import get_args

from service.jobs.events import JobEventData
from service.webhooks.happenings import ENDED, Happening, happening_of
from trainer.contract.status import TERMINAL, Status


def test_every_status_and_every_kind_of_event_but_progress_can_be_chosen() -> None:
    union, _ = get_args(JobEventData)
    kinds = {one.model_fields["kind"].default for one in get_args(union)} - {"status", "progress"}
    statuses = {happening_of({"kind": "status", "after": status}) for status in Status}
    assert statuses | {happening_of({"kind": kind}) for kind in kinds} == set(Happening)
    assert happening_of({"kind": "progress"}) is None


def test_by_default_one_is_told_that_a_job_has_ended() -> None:
    assert set(ENDED) == {happening_of({"kind": "status", "after": status}) for status in TERMINAL}
