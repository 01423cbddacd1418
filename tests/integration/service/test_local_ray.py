"""A control plane with a Ray of its own: jobs on it, its adoption after a kill, and its end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from service.cluster.ray_processes import is_marked
from tests.acceptance.product import ControlPlane, draw_images, pack
from tests.waiting import ANSWERED_WITHIN_S, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with `train` and `validation` shards, one each."""
    root = tmp_path_factory.mktemp("data")
    for split, num_images in (("train", 200), ("validation", 50)):
        images = draw_images(root / f"{split}-images", num_images=num_images, seed=num_images)
        pack(images, root / split, split=split)
    return root


@pytest.fixture(scope="module")
def plane(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    state_dir = tmp_path_factory.mktemp("service") / "state"
    plane = ControlPlane(state_dir, data, ALEXNET_LOCAL_RAY_CPUS="3").start()
    yield plane
    plane.stop()
    _stop_leftover(plane)


def tiny(data: Path, train: str) -> dict[str, Any]:
    """Return a request for seven steps."""
    return {
        "preset": "small",
        "name": train,
        "data": {"train": str(data / train), "validation": str(data / "validation")},
        "model": {"width": 0.125},
        "optim": {"global_batch_size": 32, "epochs": 1, "schedule": {"epochs": [1]}},
        "scale": {"cpus_per_replica": 1},
    }


def test_a_job_succeeds_and_damaged_shards_fail_theirs_by_name(
    plane: ControlPlane, data: Path
) -> None:
    (shard_name,) = (file.name for file in (data / "train").glob("*.tar"))
    for name in ("flipped", "removed"):
        shutil.copytree(data / "train", data / name)
    whole, flipped, removed = (
        plane.submit(**tiny(data, name)) for name in ("train", "flipped", "removed")
    )
    # Long before their workers have started.
    with (data / "flipped" / shard_name).open("r+b") as shard:
        shard.seek(5000)
        byte = shard.read(1)[0]
        shard.seek(5000)
        shard.write(bytes([byte ^ 1]))
    (data / "removed" / shard_name).unlink()

    for job_id in (flipped, removed):
        job = wait_for("an end", partial(_ended, plane, job_id), timeout_s=120)
        assert (job["status"], job["reason"]) == ("FAILED", "bad_data")
        assert shard_name in job["message"]
        # What its worker printed, not only what the driver was told.
        assert f"replica 0 failed: {job['message']}" in plane.http.get(f"/jobs/{job_id}/logs").text
        # A fault that a retry cannot mend is not tried again.
        assert len(job["attempts"]) == 1

    job = plane.wait_status(whole, "SUCCEEDED")
    assert job["progress"]["step"] == job["progress"]["planned_steps"] == 7
    assert job["report"]["samples_presented"] == 200
    assert job["report"]["top1"] == job["evaluation"]["top1"]
    (checkpoint,) = plane.http.get(f"/jobs/{whole}/checkpoints").json()["checkpoints"]
    assert (plane.run_directory(whole) / checkpoint["path"] / "model.safetensors").is_file()
    assert checkpoint["weights_sha256"] == job["report"]["weights_sha256"]
    events = plane.events(whole)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert [event["data"]["after"] for event in events if event["data"]["kind"] == "status"] == [
        *("QUEUED", "STARTING", "RUNNING", "SUCCEEDED")
    ]


def test_checkpoints_of_jobs_are_evaluated_by_several_replicas_to_the_same_result(
    plane: ControlPlane, data: Path
) -> None:
    trained = plane.submit(**tiny(data, "train"))
    before = plane.wait_status(trained, "SUCCEEDED")["report"]
    evaluation = {"checkpoints": [f"job:{trained}", f"job:{trained}@7"]}
    request = tiny(data, "train") | {"kind": "evaluate", "evaluation": evaluation}
    request["scale"] |= {"replicas": 2}
    evaluated = plane.submit(**request)
    stored = plane.job(evaluated)["spec"]["evaluation"]
    path = before["checkpoints"][0]
    held = plane.run_directory(evaluated).resolve() / "inputs" / trained / path
    assert stored["checkpoints"] == [str(held)] * 2
    # As the job itself might, were it to train on.
    shutil.rmtree(plane.run_directory(trained) / path)

    job = plane.wait_status(evaluated, "SUCCEEDED")
    assert job["progress"]["step"] == job["progress"]["planned_steps"] == 2
    report = plane.http.get(f"/jobs/{evaluated}/report").raise_for_status().json()
    assert report == job["report"]
    # Of two that are one network, the mean is what it says itself.
    for one in (report, *report["networks"]):
        assert (one["top1"], one["top5"]) == (before["top1"], before["top5"])
    assert [(one["job_id"], one["step"]) for one in report["networks"]] == [(trained, 7)] * 2
    assert report["validation_loss"] == pytest.approx(before["validation_loss"], rel=1e-6)
    assert job["evaluation"]["top1"] == report["top1"]
    assert plane.http.get(f"/jobs/{evaluated}/checkpoints").json() == {"checkpoints": []}


def test_a_calibration_measures_what_all_replicas_do_and_plans_go_by_it(
    plane: ControlPlane, data: Path
) -> None:
    request = tiny(data, "train")
    request["scale"] |= {"replicas": 2}
    # The replicas end it together, by the time.
    limits = {"warm_up_steps": 2, "steps": 100_000, "seconds": 1.0}
    calibrated = plane.submit(**request, kind="calibrate", calibration=limits)
    job = plane.wait_status(calibrated, "SUCCEEDED")
    report = plane.http.get(f"/jobs/{calibrated}/report").raise_for_status().json()
    assert report == job["report"]
    assert (report["kind"], report["replicas"], report["accelerator"]) == ("calibrate", 2, "cpu")
    # Over several epochs of seven steps, the last of which has the eight images that are left.
    steps = report["warm_up_steps"] + report["steps"]
    assert job["progress"]["step"] == job["progress"]["planned_steps"] == steps
    assert report["steps"] * 32 * 200 / 224 == pytest.approx(report["images"], abs=24)
    assert report["images_per_second"] == pytest.approx(report["images"] / report["seconds"])
    assert job["evaluation"] is None
    assert plane.http.get(f"/jobs/{calibrated}/checkpoints").json() == {"checkpoints": []}
    attempt = plane.run_directory(calibrated) / "attempts" / "0001"
    assert not list(attempt.glob("ledger-*"))
    speed = plane.http.post("/jobs/plan", json=request).json()["plan"]["speed"]
    assert speed["basis"] == f"measured in calibration {calibrated}"
    assert speed["images_per_second"] == report["images_per_second"]


def test_a_calibration_that_is_paused_begins_again_and_can_be_cancelled(
    plane: ControlPlane, data: Path
) -> None:
    limits = {"steps": 100_000, "seconds": 120}
    job_id = plane.submit(**tiny(data, "train"), kind="calibrate", calibration=limits)
    wait_for("a step", lambda: plane.job(job_id)["progress"], timeout_s=60)
    assert plane.http.post(f"/jobs/{job_id}/pause").json()["desired"] == "pause"
    plane.wait_status(job_id, "PAUSED")
    assert plane.http.post(f"/jobs/{job_id}/resume").json()["desired"] == "run"
    plane.wait_status(job_id, "RUNNING")
    assert [one["resume_from"] for one in plane.job(job_id)["attempts"]] == [None, None]
    assert plane.http.post(f"/jobs/{job_id}/cancel").json()["desired"] == "cancel"
    assert wait_for("an end", lambda: _ended(plane, job_id), timeout_s=30)["status"] == "CANCELLED"


def test_a_job_is_paused_resumed_and_cancelled(plane: ControlPlane, data: Path) -> None:
    endless = tiny(data, "train")
    endless["optim"] |= {"epochs": 1000, "schedule": {"kind": "steps", "epochs": [999]}}
    job_id = plane.submit(**endless)
    plane.wait_status(job_id, "RUNNING")
    wait_for("a step", lambda: plane.job(job_id)["progress"], timeout_s=30)

    assert plane.http.post(f"/jobs/{job_id}/pause").json()["desired"] == "pause"
    job = plane.wait_status(job_id, "PAUSED")
    checkpoints = plane.http.get(f"/jobs/{job_id}/checkpoints").json()["checkpoints"]
    assert checkpoints[-1]["step"] == job["attempts"][0]["outcome"]["step"] > 0
    assert _status_in_ray(plane, f"{job_id}-1") == "SUCCEEDED"

    assert plane.http.post(f"/jobs/{job_id}/resume").json()["desired"] == "run"
    wait_for(
        "the next attempt in Ray",
        lambda: len(attempts := plane.job(job_id)["attempts"]) == 2 and attempts[1]["submitted_at"],
        timeout_s=10,
    )
    assert plane.job(job_id)["attempts"][1]["resume_from"] == checkpoints[-1]["path"]
    # It has not reported yet, so that there is nobody to tell: Ray is asked to stop it.
    assert plane.http.post(f"/jobs/{job_id}/cancel").json()["status"] == "STARTING"
    job = wait_for("an end", lambda: _ended(plane, job_id), timeout_s=30)
    assert job["status"] == "CANCELLED"
    assert _status_in_ray(plane, f"{job_id}-2") == "STOPPED"
    wait_for("its processes to end", lambda: not _processes_of(plane, job_id), timeout_s=10)


def _status_in_ray(plane: ControlPlane, submission_id: str) -> str:
    url = json.loads((plane.state_dir / "ray.json").read_text())["url"]
    token = (plane.state_dir / "ray-token").read_text().strip()
    answer = httpx.get(
        f"{url}/api/jobs/{submission_id}",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=ANSWERED_WITHIN_S,
    )
    return str(answer.raise_for_status().json()["status"])


def _processes_of(plane: ControlPlane, job_id: str) -> list[list[str]]:
    found = []
    for pid in _marked(Path(json.loads((plane.state_dir / "ray.json").read_text())["temp_dir"])):
        with contextlib.suppress(psutil.Error):
            command = psutil.Process(pid).cmdline()
            if job_id in " ".join(command):
                found.append(command)
    return found


def _ended(plane: ControlPlane, job_id: str) -> dict[str, Any] | None:
    job = plane.job(job_id)
    return job if job["status"] in {"SUCCEEDED", "FAILED", "CANCELLED"} else None


@dataclass(frozen=True)
class Footprint:
    """What a local Ray has on the machine while it runs."""

    temp_dir: Path
    address: tuple[str, int]
    pids: frozenset[int]
    shared_memory: frozenset[Path]

    def left(self) -> list[object]:
        """Return what of it is still there."""
        with socket.socket() as probe:
            listens = [self.address] if probe.connect_ex(self.address) == 0 else []
        return [
            *(pid for pid in _marked(self.temp_dir)),
            *(path for path in (self.temp_dir, *self.shared_memory) if path.exists()),
            *listens,
        ]


def _footprint(plane: ControlPlane) -> Footprint:
    record = json.loads((plane.state_dir / "ray.json").read_text())
    temp_dir = Path(record["temp_dir"])
    pids = frozenset(_marked(temp_dir))
    url = urlsplit(record["url"])
    mapped: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            paths = (Path(one.path) for one in psutil.Process(pid).memory_maps())
            mapped |= {path for path in paths if path.is_relative_to("/dev/shm")}
    assert pids
    assert temp_dir.is_dir()
    assert url.hostname is not None
    assert url.port is not None
    return Footprint(temp_dir, (url.hostname, url.port), pids, frozenset(mapped))


def _marked(temp_dir: Path) -> Iterator[int]:
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            ours = is_marked(environment, str(temp_dir))
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid


def _stop_leftover(plane: ControlPlane) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "service", "stop"],
        env={**os.environ, "ALEXNET_STATE_DIR": str(plane.state_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_ray_is_adopted_after_a_kill_and_leaves_nothing_when_it_is_stopped(
    plane: ControlPlane,
) -> None:
    before = _footprint(plane)
    assert "a control plane runs" in _stop_leftover(plane)

    plane.kill()
    # It outlives its control plane, and is the next one's.
    assert set(_marked(before.temp_dir)) >= _long_lived(before)
    plane.start()
    adopted = _footprint(plane)
    assert (adopted.temp_dir, adopted.address) == (before.temp_dir, before.address)
    assert adopted.pids >= _long_lived(before)

    # Killed again, and nobody comes: what it left is stopped by hand.
    plane.kill()
    assert _stop_leftover(plane) == "stopped the local Ray\n"
    assert adopted.left() == []
    assert not (plane.state_dir / "ray.json").exists()
    assert _stop_leftover(plane) == "no local Ray was left behind\n"

    # A new one, and Ctrl-C.
    plane.start()
    fresh = _footprint(plane)
    assert fresh.temp_dir != before.temp_dir
    plane.process.send_signal(signal.SIGINT)
    assert plane.process.wait(30) == 0
    assert fresh.left() == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", plane.port)) != 0


def _long_lived(footprint: Footprint) -> set[int]:
    """Return Ray's servers: workers that wait for work come and go."""
    names = ("gcs_server", "raylet", "dashboard")
    lived = set()
    for pid in footprint.pids:
        with contextlib.suppress(psutil.Error):
            if any(name in " ".join(psutil.Process(pid).cmdline()) for name in names):
                lived.add(pid)
    assert lived
    return lived
