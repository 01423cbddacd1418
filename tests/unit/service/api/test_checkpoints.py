import io
import shutil
import tarfile
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from service.api import checkpoints
from service.api.run_files import RangedResponse
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.store.attempts import NewAttempt
from service.store.audit import read_audit
from service.store.leases import LostLeadershipError
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.world import World
from trainer.checkpoints.retention import prune
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.checkpoint_folder import measure
from trainer.contract.events import CheckpointSaved
from trainer.contract.order_file import write_order
from trainer.contract.pins import pin
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckpointSpec
from trainer.contract.status import Status

SHA = "0" * 64
_numbers = count()


@pytest.fixture(scope="module")
def world(plane: ControlPlane) -> World:
    return World(plane.settings.state_dir, plane.store)


@pytest.fixture
def job_id(plane: ControlPlane, world: World) -> str:
    """A job that runs, whose checkpoints after 10, 20 and 30 steps are there."""
    job_id = f"ck{next(_numbers)}"
    job_in(plane.store, Status.RUNNING, job_id, spec=make_spec(checkpoint={"keep_last": 2}))
    begin(world, job_id)
    for step in (10, 20, 30):
        world.checkpoint(step, job_id=job_id)
    return job_id


def begin(world: World, job_id: str, number: int = 1, resume_from: str | None = None) -> None:
    order = AttemptOrder(
        job_id=job_id,
        attempt=number,
        spec=make_spec(),
        accelerator="cpu",
        resume_from=resume_from,
    )
    write_order(world.folder(number, job_id), order)


def listed(http: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/jobs/{job_id}/checkpoints").json()["checkpoints"]
    return found


def steps(http: httpx.Client, job_id: str) -> list[int]:
    return [one["step"] for one in listed(http, job_id)]


def end(plane: ControlPlane, job_id: str) -> None:
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job(job_id), done, now())


def test_those_of_the_lineage_that_are_whole_are_listed(
    http: httpx.Client, plane: ControlPlane, world: World, job_id: str
) -> None:
    folder = world.folder(job_id=job_id).checkpoint
    first, *_ = listed(http, job_id)
    sizes = sum(
        (folder(10) / f"{name}.safetensors").stat().st_size for name in ("model", "velocity")
    )
    assert first["path"] == "attempts/0001/checkpoints/step-00000010"
    assert (first["attempt"], first["epoch"], first["size_bytes"]) == (1, 0.5, sizes)
    assert first["weights_sha256"] == measure(folder(10) / "model.safetensors")[1]
    assert (first["loss"], first["kept_because"]) == (None, [])
    report(plane.store, job_id, progress(5, loss=2.5), progress(15, loss=1.5))
    assert [one["loss"] for one in listed(http, job_id)] == [2.5, 1.5, 1.5]
    (folder(10) / "checkpoint.json").write_text("{")
    (folder(20) / "velocity.safetensors").write_bytes(b"torn")
    assert steps(http, job_id) == [30]


def test_each_says_why_it_is_kept(
    http: httpx.Client, plane: ControlPlane, world: World, job_id: str
) -> None:
    assert http.post(f"/jobs/{job_id}/checkpoints/10/pin").json()["kept_because"] == ["pinned"]
    other = RunDirectory(world.run_root / f"{job_id}other")
    held = other.inputs / job_id / "attempts/0001/checkpoints/step-00000020"
    held.mkdir(parents=True)
    source = world.folder(job_id=job_id).checkpoint(20) / "model.safetensors"
    (held / "model.safetensors").hardlink_to(source)
    evaluation = make_spec(kind="evaluate", evaluation={"checkpoints": [str(held)]})
    job_in(plane.store, Status.QUEUED, other.path.name, spec=evaluation)
    assert [one["kept_because"] for one in listed(http, job_id)] == [
        ["pinned"],
        ["last", "input"],
        ["last"],
    ]


def test_what_an_attempt_before_saved_too_late_is_not_listed(
    http: httpx.Client, plane: ControlPlane, world: World
) -> None:
    job_in(plane.store, Status.RUNNING, "went")
    begin(world, "went")
    for step in (10, 20):
        world.checkpoint(step, job_id="went")
    path = "attempts/0001/checkpoints/step-00000010"
    # A folder that the store knows nothing of is of a beginning that was cut short.
    begin(world, "went", 2, path)
    assert steps(http, "went") == [10, 20]
    failed = Decision(status=Status.RETRYING, ended=Outcome(outcome="failed", reason="crashed"))
    plane.store.apply(plane.store.job("went"), failed, now())
    again = NewAttempt(number=2, accelerator="cpu", resume_from=path)
    plane.store.begin_attempt(plane.store.job("went"), again, now())
    (kept,) = listed(http, "went")
    assert (kept["step"], kept["kept_because"]) == (10, ["last", "resumed_from"])
    world.checkpoint(30, 2, "went")
    refused = http.delete("/jobs/went/checkpoints/10")
    assert refused.status_code == 409
    assert "goes on from it" in refused.json()["detail"]


def test_a_checkpoint_is_downloaded_as_a_tar(http: httpx.Client, world: World, job_id: str) -> None:
    answer = http.get(f"/jobs/{job_id}/checkpoints/20/download").raise_for_status()
    assert answer.headers["Content-Type"] == "application/x-tar"
    assert f'{job_id}-step-00000020.tar"' in answer.headers["Content-Disposition"]
    folder = world.folder(job_id=job_id).checkpoint(20)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        files = {one.name: tar.extractfile(one) for one in tar}
    assert {name: file.read() if file else b"" for name, file in files.items()} == {
        f"step-00000020/{name}": (folder / name).read_bytes()
        for name in ("checkpoint.json", "model.safetensors", "velocity.safetensors")
    }
    assert http.get(f"/jobs/{job_id}/checkpoints/20/download").content == answer.content


def test_any_range_of_a_download_is_that_part_of_it(http: httpx.Client, job_id: str) -> None:
    path = f"/jobs/{job_id}/checkpoints/30/download"
    whole = http.get(path)

    @settings(max_examples=20, deadline=None)
    @given(start=st.integers(0, len(whole.content) - 1), length=st.integers(1, 4000))
    def check(start: int, length: int) -> None:
        headers = {
            "Range": f"bytes={start}-{start + length - 1}",
            "If-Range": whole.headers["ETag"],
        }
        part = http.get(path, headers=headers)
        assert part.status_code == 206
        assert part.content == whole.content[start : start + length]

    check()


def test_a_deletion_under_way_does_not_cut_a_download(
    http: httpx.Client, world: World, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/jobs/{job_id}/checkpoints/10/download"
    whole = http.get(path).content

    def delete_first(*arguments: Any, **options: Any) -> Any:
        prune(RunDirectory(world.run_root / job_id).attempt(1), CheckpointSpec(keep_last=1), None)
        return RangedResponse(*arguments, **options)

    monkeypatch.setattr(checkpoints, "RangedResponse", delete_first)
    assert http.get(path).content == whole
    assert steps(http, job_id) == [30]


def test_a_pinned_checkpoint_outlives_its_job_s_retention(
    http: httpx.Client, plane: ControlPlane, world: World, job_id: str
) -> None:
    run = RunDirectory(world.run_root / job_id)
    path = f"/jobs/{job_id}/checkpoints/10"
    assert http.post(f"{path}/pin").json()["kept_because"] == ["pinned"]
    prune(run.attempt(run.newest_attempt()), CheckpointSpec(keep_last=1), None)
    assert steps(http, job_id) == [10, 30]
    refused = http.delete(path)
    assert (refused.status_code, "unpin" in refused.json()["detail"]) == (409, True)
    assert http.delete(f"{path}/pin").json()["kept_because"] == ["last"]
    assert http.delete(path).status_code == 204
    assert steps(http, job_id) == [30]
    done = plane.store.read(lambda connection: read_audit(connection, target=job_id, limit=3))
    assert [one.action for one in done] == [
        "checkpoint.delete",
        "checkpoint.unpin",
        "checkpoint.pin",
    ]
    assert done[0].detail == {"step": 10}


def test_the_latest_of_a_job_that_lives_is_not_deleted(
    http: httpx.Client, plane: ControlPlane, job_id: str
) -> None:
    path = f"/jobs/{job_id}/checkpoints/30"
    refused = http.delete(path)
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("checkpoint-in-use")
    end(plane, job_id)
    assert http.delete(path).status_code == 204
    assert steps(http, job_id) == [10, 20]


def test_the_latest_that_is_whole_of_a_job_that_lives_is_not_deleted(
    http: httpx.Client, plane: ControlPlane, world: World, job_id: str
) -> None:
    weights = world.folder(job_id=job_id).checkpoint(30) / "model.safetensors"
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert steps(http, job_id) == [10, 20, 30]
    path = f"/jobs/{job_id}/checkpoints"
    refused = http.delete(f"{path}/20")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("checkpoint-in-use")
    assert "every later one is damaged" in refused.json()["detail"]
    # From 20 the job would go on, and from none before.
    assert http.delete(f"{path}/10").status_code == 204
    end(plane, job_id)
    assert http.delete(f"{path}/20").status_code == 204


@pytest.mark.parametrize(
    "request_line",
    ["GET /download", "POST /pin", "DELETE /pin", "DELETE "],
)
def test_what_is_gone_is_told_apart_from_what_never_was(
    http: httpx.Client, plane: ControlPlane, world: World, job_id: str, request_line: str
) -> None:
    method, _, path = request_line.partition(" ")
    never = http.request(method, f"/jobs/{job_id}/checkpoints/15{path}")
    assert never.status_code == 404
    assert "10, 20, 30" in never.json()["detail"]
    saved = CheckpointSaved(step=10, epoch=1, path="p", size_bytes=1, weights_sha256=SHA, top1=None)
    report(plane.store, job_id, saved)
    shutil.rmtree(world.folder(job_id=job_id).checkpoint(10))
    gone = http.request(method, f"/jobs/{job_id}/checkpoints/10{path}")
    assert gone.status_code == 409
    assert gone.json()["type"].endswith("checkpoint-gone")


def test_what_is_deleted_while_it_is_pinned_is_not_promised(
    http: httpx.Client, world: World, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(world.run_root / job_id)

    def prune_first(folder: Path) -> bool:
        prune(run.attempt(run.newest_attempt()), CheckpointSpec(keep_last=1), None)
        return pin(folder)

    monkeypatch.setattr(checkpoints, "pin", prune_first)
    assert http.post(f"/jobs/{job_id}/checkpoints/10/pin").status_code == 409
    assert steps(http, job_id) == [30]


@pytest.mark.parametrize("request_line", ["POST /pin", "DELETE /pin", "DELETE "])
def test_what_cannot_be_written_into_the_audit_log_is_not_done(
    http: httpx.Client,
    world: World,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
) -> None:
    method, _, path = request_line.partition(" ")
    if request_line == "DELETE /pin":
        http.post(f"/jobs/{job_id}/checkpoints/10/pin").raise_for_status()
    run = world.run_root / job_id
    before = sorted(run.rglob("*"))

    def lose(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, Exception("disk I/O error"))

    monkeypatch.setattr(checkpoints, "note_audit", lose)
    refused = http.request(method, f"/jobs/{job_id}/checkpoints/10{path}")
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("store-unavailable")
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("request_line", ["POST /pin", "DELETE /pin", "DELETE "])
def test_one_that_was_frozen_until_another_led_touches_no_file(
    http: httpx.Client,
    world: World,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
) -> None:
    method, _, path = request_line.partition(" ")
    run = world.run_root / job_id
    if request_line == "DELETE /pin":
        http.post(f"/jobs/{job_id}/checkpoints/10/pin").raise_for_status()
    left = world.folder(job_id=job_id).checkpoints / ".step-00000005.deleted"
    (left / "model.safetensors").mkdir(parents=True)
    before = sorted(run.rglob("*"))

    def refuse(*_: object) -> None:
        raise LostLeadershipError("http://another")

    # By its own clock it leads; by the store it does not.
    monkeypatch.setattr("service.store.leases.check_fence", refuse)
    refused = http.request(method, f"/jobs/{job_id}/checkpoints/10{path}")
    assert refused.status_code == 503
    assert "http://another" in refused.json()["detail"]
    assert sorted(run.rglob("*")) == before
