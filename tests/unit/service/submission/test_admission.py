import json
from pathlib import Path
from typing import Any

import pytest

from data_shards.manifest import load_manifest
from service.problems import SpecRefusedError
from service.store.store import Store
from service.submission.admission import admit_request
from service.submission.checkpoint_finder import CheckpointFinder
from tests.unit.service.conftest import job_in, make_spec, manifest_document, write_manifest
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import CheckpointManifest, DataDigests
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import write_order
from trainer.contract.status import Status


@pytest.fixture
def finder(store: Store, tmp_path: Path) -> CheckpointFinder:
    return CheckpointFinder(store, tmp_path / "runs", [])


def test_what_is_admitted_is_whole_and_what_is_not_names_every_manifest_at_fault(
    data_root: Path, tmp_path: Path, request_body: dict[str, Any], finder: CheckpointFinder
) -> None:
    spec = admit_request(
        request_body | {"data": {"train": "train", "validation": "validation"}},
        [str(data_root)],
        finder,
    ).spec
    assert spec.data.train == str(data_root / "train" / "manifest.json")
    assert spec.model.width == 0.25
    with pytest.raises(SpecRefusedError) as refused:
        admit_request(request_body, [str(tmp_path)], finder)
    assert [error.field for error in refused.value.errors] == ["data.train", "data.validation"]


class Trained:
    """A job that has trained on `data_root`, with checkpoints after 10 and 20 steps."""

    def __init__(self, world: World, data_root: Path) -> None:
        job_in(world.store, Status.RUNNING, "a")
        order = AttemptOrder(
            job_id="a", attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
        )
        write_order(world.folder(), order)
        train = load_manifest(data_root / "train").content_sha256()
        self.folders = {step: world.checkpoint(step) for step in (10, 20)}
        for folder in self.folders.values():
            self.change(
                folder,
                model=ModelSpec(num_classes=10, input_size=64),
                data_sha256=DataDigests(train=train, validation="b" * 64),
            )

    def change(self, folder: Path, **changes: Any) -> None:
        file = folder / "checkpoint.json"
        manifest = CheckpointManifest.model_validate_json(file.read_bytes())
        file.write_text(manifest.model_copy(update=changes).model_dump_json())


@pytest.fixture
def trained(store: Store, tmp_path: Path, data_root: Path) -> Trained:
    return Trained(World(tmp_path, store), data_root)


def _evaluation(request_body: dict[str, Any], *checkpoints: object) -> dict[str, Any]:
    named = [str(one) for one in checkpoints]
    return request_body | {"kind": "evaluate", "evaluation": {"checkpoints": named}}


def _refused(request: dict[str, Any], data_root: Path, finder: CheckpointFinder) -> dict[str, str]:
    with pytest.raises(SpecRefusedError) as refused:
        admit_request(request, [str(data_root)], finder)
    return {error.field: error.message for error in refused.value.errors}


def test_checkpoints_become_their_folders(
    data_root: Path, request_body: dict[str, Any], finder: CheckpointFinder, trained: Trained
) -> None:
    request = _evaluation(request_body, "job:a", "job:a@10", trained.folders[20])
    # What the preset says of the network is of no meaning: it is the checkpoints'.
    model = {"model": {"num_classes": 2}}
    spec = admit_request(request | model, [str(data_root)], finder).spec
    ten, twenty = (str(trained.folders[step].resolve()) for step in (10, 20))
    assert spec.evaluation.checkpoints == (twenty, ten, twenty)

    init_from = {"checkpoint": "job:a@10", "new_layers": ["fc8"]}
    tuned = request_body | {"init_from": init_from}
    spec = admit_request(tuned, [str(data_root)], finder).spec
    assert spec.init_from is not None
    assert spec.init_from.checkpoint == ten
    assert spec.init_from.new_layers == ("fc8",)


def test_every_checkpoint_that_cannot_be_found_is_named_by_its_field(
    data_root: Path, request_body: dict[str, Any], finder: CheckpointFinder, trained: Trained
) -> None:
    request = _evaluation(request_body, "job:a", "job:none", "job:a@15", "job:a@x", "/etc")
    errors = _refused(request, data_root, finder)
    assert list(errors) == [f"evaluation.checkpoints.{place}" for place in (1, 2, 3, 4)]
    init_from = {"checkpoint": "job:none"}
    assert list(_refused(request_body | {"init_from": init_from}, data_root, finder)) == [
        "init_from.checkpoint"
    ]


def test_networks_that_do_not_fit_the_data_or_each_other_are_refused(
    data_root: Path, request_body: dict[str, Any], finder: CheckpointFinder, trained: Trained
) -> None:
    request = _evaluation(request_body, "job:a@10", "job:a@20")
    trained.change(trained.folders[20], model=ModelSpec(num_classes=12, input_size=64))
    assert (
        "has 12 outputs, and the first network 10"
        in (_refused(request, data_root, finder)["evaluation.checkpoints.1"])
    )
    other = DataDigests(train="f" * 64, validation="b" * 64)
    trained.change(trained.folders[20], data_sha256=other)
    assert (
        "was trained on other data than data.train"
        in (_refused(request, data_root, finder)["evaluation.checkpoints.1"])
    )


def test_of_a_checkpoint_of_the_first_release_the_network_is_the_specs(
    data_root: Path, request_body: dict[str, Any], finder: CheckpointFinder, trained: Trained
) -> None:
    trained.change(trained.folders[20], model=None)
    request = _evaluation(request_body, "job:a")
    admit_request(request, [str(data_root)], finder)
    errors = _refused(request | {"model": {"num_classes": 9}}, data_root, finder)
    assert "has 9 outputs (release 0.1 wrote no network" in errors["evaluation.checkpoints.0"]


def test_fine_tuning_for_other_classes_needs_a_new_classifier(
    data_root: Path, request_body: dict[str, Any], finder: CheckpointFinder, trained: Trained
) -> None:
    init_from: dict[str, Any] = {"checkpoint": "job:a"}
    admit_request(request_body | {"init_from": init_from}, [str(data_root)], finder)
    request = request_body | {"model": {"num_classes": 12}}
    errors = _refused(request | {"init_from": init_from}, data_root, finder)
    assert "has 10 outputs, and the network of model 12" in errors["init_from.new_layers"]
    init_from["new_layers"] = ["fc8"]
    admit_request(request | {"init_from": init_from}, [str(data_root)], finder)
    # Of release 0.1, which does not tell its network; the attempt will.
    trained.change(trained.folders[20], model=None)
    admit_request(request | {"init_from": {"checkpoint": "job:a"}}, [str(data_root)], finder)


@pytest.mark.parametrize(
    "model", [{"num_classes": 9}, {"input_size": 100}], ids=["too few outputs", "too large a crop"]
)
def test_a_network_that_does_not_fit_the_images_is_refused_to_whatever_trains_it(
    data_root: Path,
    request_body: dict[str, Any],
    finder: CheckpointFinder,
    trained: Trained,
    model: dict[str, int],
) -> None:
    for kind in ("train", "calibrate"):
        request = request_body | {"kind": kind, "model": model}
        assert list(_refused(request, data_root, finder)) == [f"model.{next(iter(model))}"]
    # An evaluation's networks are those of its checkpoints.
    evaluation = _evaluation(request_body, "job:a") | {"model": model}
    assert admit_request(evaluation, [str(data_root)], finder).spec.kind == "evaluate"


def test_a_job_of_more_steps_than_the_store_counts_is_refused(
    data_root: Path, tmp_path: Path, request_body: dict[str, Any], finder: CheckpointFinder
) -> None:
    document = manifest_document() | {"num_samples": 300_000}
    document["shards"][0]["num_samples"] = 300_000
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(document))
    request = request_body | {"data": request_body["data"] | {"train": str(folder)}}
    optim = {"global_batch_size": 1, "epochs": 7158}
    streams = {"num_streams": 1}

    def asked(**fields: int) -> dict[str, Any]:
        return request | {"data": request["data"] | streams, "optim": optim | fields}

    roots = [str(data_root), str(tmp_path)]
    assert admit_request(asked(), roots, finder).train.num_samples == 300_000
    assert admit_request(asked(epochs=9000, max_steps=9), roots, finder)
    with pytest.raises(SpecRefusedError) as refused:
        admit_request(asked(epochs=7159), roots, finder)
    (error,) = refused.value.errors
    assert error.field == "optim.epochs"
    assert "2,147,700,000 steps are more than a job may have, 2,147,483,647" in error.message
    assert "use 7,158 or less" in error.message


def test_classes_of_one_name_and_two_synsets_are_refused_as_the_attempt_would(
    data_root: Path, tmp_path: Path, request_body: dict[str, Any], finder: CheckpointFinder
) -> None:
    file = write_manifest(tmp_path / "validation", split="validation")
    document = json.loads(file.read_text())
    document["classes"][3]["synset"] = "n02134084"
    file.write_text(json.dumps(document))
    data = {"train": "train", "validation": str(file)}
    with pytest.raises(SpecRefusedError, match=r"data\.validation: its classes are not those"):
        admit_request(request_body | {"data": data}, [str(data_root), str(tmp_path)], finder)
