from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.manifest import Manifest, load_manifest
from service.submission.plan import make_plan
from service.submission.shards import MAX_NAMED, check_shards
from service.submission.speed import FinishedJob, Nearest, nearest_first
from service.views.plans import Plan, PlannedStart
from tests.unit.service.conftest import make_spec, write_manifest
from trainer.contract.description import describe
from trainer.contract.spec import JobSpec

START = PlannedStart(when="now", message="", accelerator="cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return load_manifest(write_manifest(tmp_path_factory.mktemp("set")).parent)


def plan_of(spec: JobSpec, manifest: Manifest, like: Nearest | None = None) -> Plan:
    return make_plan(spec, (manifest, manifest), shards=(), nearest=like, start=START)


def test_the_papers_plan_in_numbers(manifest: Manifest) -> None:
    network = plan_of(make_spec(), manifest).network
    assert network is not None
    assert network.parameters == 60_965_224
    assert network.exchanged_bytes_per_image == 234_496
    assert len(network.devices) == 2
    for device in network.devices:
        assert sum(part.size_bytes for part in device.parts) == device.total_bytes


def test_memory_is_within_what_was_measured() -> None:
    # docs/LOG.md, a training step of the full-size network: peak 1,788 MiB of one process at
    # batch 64 in bf16 with both towers, of which torch itself and its workspaces are a part.
    spec = make_spec(
        optim={"global_batch_size": 64}, precision="bf16", scale={"devices_per_replica": 1}
    )
    (device,) = describe(spec).devices
    assert 1_000 < device.total_bytes / 2**20 < 1_788


@pytest.mark.parametrize(
    ("optim", "steps", "epochs"),
    [
        ({"global_batch_size": 8, "epochs": 3}, 9, 3.0),
        ({"global_batch_size": 8, "epochs": 3, "max_steps": 4}, 4, 4 / 3),
        ({"global_batch_size": 32, "epochs": 2}, 2, 2.0),
    ],
)
def test_steps_and_duration(
    manifest: Manifest, optim: dict[str, Any], steps: int, epochs: float
) -> None:
    spec = make_spec(optim=optim)
    job = FinishedJob(id="like", spec=spec, accelerator="cpu", images_per_second=10.0)
    plan = plan_of(spec, manifest, Nearest(job=job, differs=("x",)))
    assert (plan.steps, plan.epochs) == (steps, epochs)
    # The last batch of an epoch is a short one: 20 images, whatever the batch.
    assert plan.speed.training_s == pytest.approx(epochs * 20 / 10)
    evaluations = plan.speed.evaluations
    assert evaluations is not None
    assert evaluations.images_per_pass == 20
    assert plan.speed.duration_s == pytest.approx(
        epochs * 20 / 10 + (evaluations.duration_s or 0.0)
    )
    assert plan.network is not None
    assert {device.fits for device in plan.network.devices} == {None}
    assert plan.speed.basis == "measured in job like, which differs in x"


def test_an_evaluation_measures_each_validation_image_once(manifest: Manifest) -> None:
    evaluation = {"checkpoints": ["job:a"]}
    spec = make_spec(kind="evaluate", evaluation=evaluation, optim={"global_batch_size": 8})
    plan = plan_of(spec, manifest)
    assert (plan.steps, plan.epochs, plan.network) == (3, 1.0, None)
    assert plan.speed.images_per_second is None


def test_a_calibration_is_planned_as_the_steps_that_it_takes_at_most(manifest: Manifest) -> None:
    spec = make_spec(
        kind="calibrate",
        calibration={"warm_up_steps": 2, "steps": 10, "seconds": 5},
        optim={"global_batch_size": 8, "epochs": 1},
    )
    plan = plan_of(spec, manifest)
    assert (plan.steps, plan.steps_per_epoch, plan.epochs) == (12, 3, 4.0)
    assert plan.network is not None
    assert plan.speed.images_per_second is None
    assert plan.speed.basis.startswith("what it is to measure: a warm-up of up to 5 s")


def test_where_nothing_is_known_it_says_how_to_measure(manifest: Manifest) -> None:
    speed = plan_of(make_spec(), manifest).speed
    assert speed.images_per_second is None
    assert "`alexnet plan --calibrate`" in speed.basis
    assert "kind = calibrate" in speed.basis


@pytest.mark.parametrize(("kind", "what"), [("train", "job"), ("calibrate", "calibration")])
def test_the_basis_says_what_measured_it(manifest: Manifest, kind: str, what: str) -> None:
    found = nearest(make_spec(), "cpu", [finished("like", kind=kind)])
    speed = plan_of(make_spec(), manifest, found).speed
    assert (speed.images_per_second, speed.like_job) == (10.0, "like")
    assert speed.basis == f"measured in {what} like"


def finished(job_id: str, rate: float = 10.0, **fields: Any) -> FinishedJob:
    accelerator = fields.pop("accelerator", "cpu")
    return FinishedJob(
        id=job_id, spec=make_spec(**fields), accelerator=accelerator, images_per_second=rate
    )


def nearest(spec: JobSpec, accelerator: str, jobs: list[FinishedJob]) -> Nearest | None:
    return next(iter(nearest_first(spec, accelerator, jobs)), None)


def test_the_nearest_finished_job_is_the_one_that_differs_least() -> None:
    batches = [finished(str(size), optim={"global_batch_size": size}) for size in (96, 120, 176)]
    found = nearest(make_spec(), "cpu", batches)
    assert found is not None
    assert found.job.id == "120"
    assert found.differs == (
        "batch of a replica (120 there, 128 here)",
        "images at once (120 there, 128 here)",
    )
    same = nearest(make_spec(seed=5, name="other"), "cpu", [*batches, finished("same")])
    assert same is not None
    assert (same.job.id, same.differs) == ("same", ())


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (
            {"data": {"train": "/other.json", "validation": "/d/v.json"}},
            "data.train (/other.json there, /d/t.json here)",
        ),
        (
            {
                "data": {
                    "train": "/d/t.json",
                    "validation": "/d/v.json",
                    "num_loader_processes": 4,
                }
            },
            "data.num_loader_processes (4 there, 1 here)",
        ),
        ({"augment": {"crop": False}}, "augment.crop (False there, True here)"),
        ({"model": {"lrn": False}}, "model.lrn (False there, True here)"),
    ],
)
def test_of_equally_near_ones_that_is_taken_whose_data_and_arithmetic_are_the_same(
    other: dict[str, Any], differs: str
) -> None:
    newer, older = finished("newer", **other), finished("older")
    found = nearest(make_spec(), "cpu", [newer, older])
    assert found is not None
    assert (found.job.id, found.differs) == ("older", ())
    found = nearest(make_spec(), "cpu", [newer])
    assert found is not None
    assert found.differs == (differs,)


# At 150 two logarithms are compared that differ in their last bit, or do not.
@given(
    history=st.lists(
        st.tuples(
            st.integers(100, 200).filter(lambda size: size != 150),
            st.sampled_from(("train", "calibrate")),
        ),
        max_size=20,
    )
)
def test_whatever_measured_it_the_newest_of_the_nearest_is_taken(
    history: list[tuple[int, str]],
) -> None:
    found = nearest(
        make_spec(optim={"global_batch_size": 800}),
        "cpu",
        [
            finished(str(number), kind=kind, optim={"global_batch_size": 8 * size})
            for number, (size, kind) in enumerate(history)
        ],
    )
    near = [(size, number) for number, (size, _) in enumerate(history) if size < 150]
    assert (found and found.job.id) == (str(min(near)[1]) if near else None)


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"width": 0.5}},
        {"precision": "bf16"},
        {"accelerator": "gpu"},
        {"scale": {"replicas": 2}},
        {"scale": {"cpus_per_replica": 2}},
        {"optim": {"global_batch_size": 64}},
        {"rate": 0.0},
    ],
)
def test_a_job_of_another_kind_says_nothing(other: dict[str, Any]) -> None:
    assert nearest(make_spec(), "cpu", [finished("other", **other)]) is None


def test_on_gpus_the_cores_of_a_replica_do_not_matter() -> None:
    other = finished("other", accelerator="gpu", scale={"cpus_per_replica": 4})
    assert nearest(make_spec(), "gpu", [other]) is not None
    halved = finished("halved", accelerator="gpu", scale={"devices_per_replica": 1})
    assert nearest(make_spec(), "gpu", [halved]) is None


def test_shards_are_compared_by_size(tmp_path: Path, manifest: Manifest) -> None:
    file = str(tmp_path / "manifest.json")
    shard = tmp_path / "train-00000.tar"

    def wrong() -> tuple[str, ...]:
        return check_shards("train", file, manifest, ask_stores=False).wrong

    assert wrong() == ("train-00000.tar is missing",)
    shard.write_bytes(b"torn")
    assert wrong() == ("train-00000.tar has 4 bytes, not 100",)
    shard.write_bytes(b" " * 100)
    assert wrong() == ()


def test_of_many_wrong_shards_the_first_are_named(tmp_path: Path, manifest: Manifest) -> None:
    (shard,) = manifest.shards
    shards = tuple(shard.model_copy(update={"name": f"{n}.tar"}) for n in range(100))
    many = manifest.model_copy(update={"shards": shards})
    checked = check_shards("train", str(tmp_path / "manifest.json"), many, ask_stores=False)
    assert (checked.num_wrong, len(checked.wrong)) == (100, MAX_NAMED)


def test_shards_in_a_store_are_listed_only_if_asked(bucket: str, manifest: Manifest) -> None:
    file = f"{bucket}/train/manifest.json"
    unasked = check_shards("train", file, manifest, ask_stores=False)
    assert (unasked.how, unasked.num_wrong) == ("nothing: only the manifest was read", 0)
    empty = check_shards("train", file, manifest, ask_stores=True)
    assert empty.how.startswith("nothing: ")
