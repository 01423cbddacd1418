import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from service.client.client import Client
from service.client.errors import ServiceUnreachableError
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.scheduling.placement import Node
from service.scheduling.room import Cluster
from service.terminal.exit_codes import ExitCode, exit_code_of
from tests.unit.service.conftest import bring_to, progress, report, wait_until
from tests.unit.service.terminal.conftest import Run
from tests.unit.trainer.contract.reports import calibration_report
from trainer.contract.status import Status


@pytest.fixture
def spec_file(tmp_path: Path, request_body: dict[str, Any]) -> str:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(request_body))
    return str(file)


def output(alexnet: Run, *arguments: str) -> str:
    code, out, err = alexnet(*arguments)
    assert (code, err) == (ExitCode.DONE, "")
    return out


def test_a_plan_is_a_table_and_submits_nothing(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    before = len(service.store.jobs(limit=1000))
    planned = output(alexnet, "plan", spec_file, "--set", "optim.epochs=2")
    assert "2, 1 an epoch, 2 epochs" in planned
    assert "train-00000.tar is missing" in planned
    assert "unknown: Ray: not reached yet" in planned
    speed = "not known: without the cluster it is not known which jobs are like this one (Ray: "
    assert speed in " ".join(planned.split())
    assert output(alexnet, "submit", spec_file, "--plan", "--set", "optim.epochs=2") == planned
    document = json.loads(output(alexnet, "plan", spec_file, "--json"))
    assert document["plan"]["steps"] == 12
    assert len(service.store.jobs(limit=1000)) == before


def test_a_clone_is_submitted_with_changes(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    first = json.loads(output(alexnet, "submit", spec_file, "--json"))
    changes = ("--set", "optim.learning_rate=0.5")
    clone = json.loads(output(alexnet, "clone", first["id"], *changes, "--json"))
    assert clone["cloned_from"] == first["id"]
    assert clone["spec"]["optim"]["learning_rate"] == 0.5
    with Client(service.settings.advertised_url) as client:
        assert client.get(clone["id"]).plan is not None
    assert "a clone of" in output(alexnet, "clone", first["id"])


def calibrations(service: ControlPlane) -> list[JobRecord]:
    found = [job for job in service.store.jobs(limit=1000) if isinstance(job, JobRecord)]
    return [job for job in found if job.spec.kind == "calibrate"]


class Calibrating:
    """Ends the next calibration that is submitted, as its attempt and the reconciler would."""

    def __init__(
        self, service: ControlPlane, status: Status, *, images_per_second: float = 12_800.0
    ) -> None:
        self.job_id = ""
        self._service = service
        self._status = status
        self._images_per_second = images_per_second
        self._known = {job.id for job in calibrations(service)}
        self._thread = threading.Thread(target=self._end_it)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _end_it(self) -> None:
        store = self._service.store
        (job,) = wait_until(self._new)
        self.job_id = job.id
        job = bring_to(store, job, Status.RUNNING)
        report(store, job.id, progress(100, images_per_second=min(self._images_per_second, 1.0)))
        folder = self._service.settings.run_root / job.id
        folder.mkdir(parents=True)
        rate = {"images_per_second": self._images_per_second}
        measured = calibration_report().model_copy(update=rate)
        (folder / "report.json").write_text(measured.model_dump_json())
        bring_to(store, store.job(job.id), self._status)

    def _new(self) -> list[JobRecord]:
        return [job for job in calibrations(self._service) if job.id not in self._known]


@pytest.fixture
def cluster(service: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cluster seen, on which nothing happens."""
    seen = Cluster(nodes=[Node(id="n", num_cpus=2, num_gpus=0)])
    monkeypatch.setattr(service, "cluster", lambda: seen)


@pytest.fixture
def shards(data_root: Path) -> Iterator[None]:
    """Have the shards that the training set's manifest names."""
    shard = data_root / "train" / "train-00000.tar"
    shard.write_bytes(b" " * 100)
    yield
    shard.unlink()


@pytest.mark.usefixtures("cluster", "shards")
def test_a_calibration_is_submitted_followed_and_its_speed_planned_with(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    options = ("--calibrate", "--set", "priority=3", "--set", "seed=4", "--set", "labels.team=a")
    with Calibrating(service, Status.SUCCEEDED) as calibrating:
        code, out, err = alexnet("plan", spec_file, *options)
    assert code == ExitCode.DONE
    told = [line.split()[0] for line in err.splitlines() if line.strip()]
    assert f"submitted calibration {calibrating.job_id}" == err.splitlines()[0]
    assert [word for word in told if word.isupper()][-1] == "SUCCEEDED"
    planned = " ".join(out.split())
    assert "12,800 images/s" in planned
    assert f"measured in calibration {calibrating.job_id}" in planned
    job = service.store.job(calibrating.job_id)
    spec = job.spec
    assert (spec.kind, spec.name) == ("calibrate", "calibration of a job")
    assert (spec.priority, spec.seed, spec.model.width) == (3, 4, 0.25)
    assert spec.labels == {}


@pytest.mark.usefixtures("cluster", "shards")
def test_for_programs_it_is_one_document_and_once_a_key(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    key = ("--idempotency-key", "calibrated")
    # Before what other tests left in the queue.
    options = ("--calibrate", "--json", *key, "--set", "priority=9")
    with Calibrating(service, Status.SUCCEEDED) as calibrating:
        code, out, err = alexnet("plan", spec_file, *options)
    assert (code, err) == (ExitCode.DONE, f"submitted calibration {calibrating.job_id}\n")
    first = json.loads(out)
    speed = first["plan"]["speed"]
    assert (speed["images_per_second"], speed["like_job"]) == (12_800.0, calibrating.job_id)
    assert first["spec"]["kind"] == "train"
    before = len(calibrations(service))
    _, out, again = alexnet("plan", spec_file, *options)
    assert again == err
    assert json.loads(out)["plan"]["speed"] == speed
    assert len(calibrations(service)) == before


@pytest.mark.usefixtures("cluster", "shards")
def test_a_plan_that_goes_by_another_job_says_so(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    options = ("--calibrate", "--json")
    with Calibrating(service, Status.SUCCEEDED) as first:
        alexnet("plan", spec_file, *options)
    with Calibrating(service, Status.SUCCEEDED, images_per_second=0.0) as calibrating:
        code, out, err = alexnet("plan", spec_file, *options)
    assert code == ExitCode.DONE
    assert json.loads(out)["plan"]["speed"]["like_job"] == first.job_id
    told = f"the plan does not go by calibration {calibrating.job_id}: measured in calibration "
    assert err.splitlines()[-1] == told + first.job_id


@pytest.mark.usefixtures("cluster", "shards")
def test_a_calibration_that_waits_says_for_what(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    output(alexnet, "drain")
    with Calibrating(service, Status.SUCCEEDED):
        _, _, err = alexnet("plan", spec_file, "--calibrate")
    output(alexnet, "undrain")
    assert err.splitlines()[1].startswith("when it starts: waits: the service drains")


def refused(alexnet: Run, service: ControlPlane, *arguments: str) -> str:
    before = len(service.store.jobs(limit=1000))
    code, out, err = alexnet("plan", *arguments, "--calibrate")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert len(service.store.jobs(limit=1000)) == before
    return err


@pytest.mark.usefixtures("cluster", "shards")
def test_one_that_could_never_start_is_not_submitted(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    err = refused(alexnet, service, spec_file, "--set", "scale.cpus_per_replica=3")
    assert err.startswith("a calibration would never start: ")
    assert "3 CPU" in err


@pytest.mark.usefixtures("cluster")
def test_one_whose_shards_are_wrong_is_not_submitted(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    assert refused(alexnet, service, spec_file) == (
        "a calibration would fail: of the training shards 1 are wrong "
        "(train-00000.tar is missing)\n"
    )


@pytest.mark.usefixtures("shards")
@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_one_that_does_not_succeed_is_told_and_nothing_is_planned(
    alexnet: Run,
    service: ControlPlane,
    spec_file: str,
    status: Status,
    as_json: tuple[str, ...],
) -> None:
    with Calibrating(service, status) as calibrating:
        code, out, err = alexnet("plan", spec_file, "--calibrate", *as_json)
    assert (code, out) == (exit_code_of(status), "")
    last = err.splitlines()[-1]
    assert last.startswith(f"calibration {calibrating.job_id} {status}")
    assert f"`alexnet logs {calibrating.job_id}` tells more" in last


@pytest.mark.usefixtures("shards")
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_ctrl_c_leaves_the_calibration_and_says_how_to_cancel_it(
    alexnet: Run,
    service: ControlPlane,
    spec_file: str,
    monkeypatch: pytest.MonkeyPatch,
    as_json: tuple[str, ...],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.terminal.follow._View.take", interrupt)
    monkeypatch.setattr("service.client.jobs.JobClient.wait", interrupt)
    code, out, err = alexnet("plan", spec_file, "--calibrate", *as_json)
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    newest = calibrations(service)[0]
    assert err.splitlines()[-1] == f"the job goes on; `alexnet cancel {newest.id}` ends it"
    assert newest.status is Status.QUEUED


@pytest.mark.usefixtures("shards")
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_whoever_can_wait_no_longer_is_told_of_the_calibration(
    alexnet: Run,
    service: ControlPlane,
    spec_file: str,
    monkeypatch: pytest.MonkeyPatch,
    as_json: tuple[str, ...],
) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise ServiceUnreachableError("gone")

    monkeypatch.setattr("service.client.jobs.JobClient.follow", give_up)
    monkeypatch.setattr("service.client.jobs.JobClient.wait", give_up)
    code, out, err = alexnet("plan", spec_file, "--calibrate", *as_json)
    assert (code, out) == (ExitCode.NO_SERVICE, "")
    newest = calibrations(service)[0]
    *_, goes_on, why = err.splitlines()
    assert err.splitlines()[0] == f"submitted calibration {newest.id}"
    assert goes_on == f"the job goes on; `alexnet cancel {newest.id}` ends it"
    assert "gone" in why


def test_only_what_trains_is_calibrated(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    assert refused(alexnet, service, spec_file, "--set", "kind=calibrate") == (
        "--calibrate measures how fast a job trains, and this one is of kind calibrate; "
        "leave it out\n"
    )


@pytest.mark.usefixtures("shards")
def test_the_longest_name_leaves_a_name(
    alexnet: Run, service: ControlPlane, spec_file: str
) -> None:
    name = "n" * 64 + " " + "m" * 15
    with Calibrating(service, Status.SUCCEEDED) as calibrating:
        alexnet("plan", spec_file, "--calibrate", "--json", "--set", f"name={name}")
    found = service.store.job(calibrating.job_id).spec.name
    assert found == "calibration of " + "n" * 64
