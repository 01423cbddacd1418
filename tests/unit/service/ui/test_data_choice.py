"""Whose batch is drawn."""

import pytest

from data_shards.manifest import Manifest
from service.jobs.records import JobRecord
from service.ui.data_choice import (
    MAX_JOBS,
    Choice,
    ChoiceError,
    check_step,
    chosen,
    is_only_measured_on,
    job_choices,
    job_named,
    preset_choices,
)
from tests.unit.service.conftest import make_spec, manifest_document, now
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

HERE = "/data/train/manifest.json"


def job(number: int, **fields: object) -> JobRecord:
    data = {"train": HERE, "validation": "/data/validation/manifest.json"}
    return JobRecord(
        seq=number,
        id=f"{number:012x}",
        spec=make_spec(**{"data": data, "name": f"job {number}", **fields}),
        status=Status.RUNNING,
        desired=Desired.RUN,
        attempt=1,
        num_failures=0,
        reason=None,
        message=None,
        created_at=now(),
        status_since=now(),
        started_at=None,
        finished_at=None,
        retry_at=None,
        progress=None,
        evaluation=None,
    )


def manifest(*, image_size: int = 72) -> Manifest:
    return Manifest.model_validate(manifest_document(image_size=image_size))


def of_preset(name: str) -> Choice:
    return next(one for one in preset_choices(manifest(image_size=256), HERE) if one.name == name)


def test_jobs_that_train_on_the_set_are_offered_in_their_order() -> None:
    elsewhere = job(3, data={"train": "/data/other", "validation": HERE})
    measures = job(2, kind="evaluate", evaluation={"checkpoints": ["job:1"]})
    found = job_choices([job(4), elsewhere, measures, job(1)], {HERE})
    assert [(one.value, one.label) for one in found] == [
        ("job:000000000004", "job 4 (000000000004)"),
        ("job:000000000001", "job 1 (000000000001)"),
    ]
    assert len(job_choices(map(job, range(50)), {HERE})) == MAX_JOBS


@pytest.mark.parametrize(
    ("image_size", "names"),
    [(256, ["paper", "large_batch", "small"]), (72, ["small"]), (32, [])],
)
def test_presets_are_offered_whose_crops_fit(image_size: int, names: list[str]) -> None:
    found = preset_choices(manifest(image_size=image_size), HERE)
    assert [one.name for one in found] == names
    assert [one.value for one in found] == [f"preset:{name}" for name in names]
    assert all(one.kind == "Presets" and one.spec.data.train == HERE for one in found)


def test_the_small_preset_is_what_the_demo_trains_on() -> None:
    spec: JobSpec = of_preset("small").spec
    assert (spec.augment.mirror, spec.optim.global_batch_size) == (False, 64)


def test_one_is_chosen_by_its_name() -> None:
    choices = [*job_choices([job(1)], {HERE}), of_preset("small")]
    assert chosen(choices, "preset:small") is choices[1]
    assert chosen(choices, "job:000000000001") is choices[0]
    with pytest.raises(ChoiceError, match=r"'preset:none'; choose one of job:0+1, preset:small"):
        chosen(choices, "preset:none")
    assert job_named("job:1") == "1"
    assert job_named("preset:job:1") is None


def test_a_set_that_jobs_only_measure_on_is_known() -> None:
    validation = {"/data/validation/manifest.json"}
    assert is_only_measured_on([job(1)], validation)
    both = job(2, data={"train": next(iter(validation)), "validation": HERE})
    assert not is_only_measured_on([job(1), both], validation)
    assert not is_only_measured_on([], validation)


def test_a_step_that_a_job_does_not_take_is_told() -> None:
    # Of 20 samples, 20 steps an epoch.
    optim = {"global_batch_size": 1, "epochs": 2}
    [choice] = job_choices([job(1, optim=optim, data=one_stream())], {HERE})
    check_step(choice, 39, manifest())
    with pytest.raises(ChoiceError, match=r"takes 40 steps, the first of which is 0; .* step 40"):
        check_step(choice, 40, manifest())


def one_stream() -> dict[str, object]:
    return {"train": HERE, "validation": HERE, "num_streams": 1}
