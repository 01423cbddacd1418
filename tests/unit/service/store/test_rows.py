from service.access.caller import EVERYONE
from service.jobs.editing import Edit
from service.store.editing import edit_job
from service.store.store import Store
from tests.unit.service.conftest import job_in, now
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status


def test_a_spec_is_parsed_once_however_often_its_job_is_read(store: Store) -> None:
    job_in(store, Status.QUEUED, "again")
    first = store.job("again").spec
    assert store.job("again").spec is first
    assert first == JobSpec.model_validate(first.model_dump(mode="json"))


def test_a_spec_that_was_edited_is_the_edited_one(store: Store) -> None:
    job_in(store, Status.QUEUED, "edited")
    before = store.job("edited").spec
    store.write(
        lambda connection: edit_job(connection, "edited", Edit(priority=7), EVERYONE, now())
    )
    assert before.priority != 7
    assert store.job("edited").spec.priority == 7
