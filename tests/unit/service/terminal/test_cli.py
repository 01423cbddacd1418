import json
import threading
from pathlib import Path
from typing import Any

import pytest

from service.cluster.local_ray import LocalRay
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from tests.unit.service.conftest import free_port, job_in, make_spec, now, progress, report
from tests.unit.service.terminal.conftest import Run
from tests.unit.trainer.contract.reports import training_report
from trainer.contract.attempt import Outcome
from trainer.contract.status import Desired, Status


def test_a_job_is_submitted_from_a_preset(
    alexnet: Run, service: ControlPlane, data_root: Path
) -> None:
    options = ("--train", data_root / "train", "--validation", data_root / "validation")
    code, out, _ = alexnet(
        "submit", "--preset", "small", "--set", "optim.epochs=3", "--set", "seed=7", *options
    )
    assert code == 0
    job = service.store.job(out.split()[-1])
    assert (job.spec.name, job.spec.optim.epochs, job.spec.seed) == ("small", 3, 7)


def test_json_is_all_that_json_prints(
    alexnet: Run, service: ControlPlane, tmp_path: Path, request_body: dict[str, Any]
) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(request_body))
    code, out, err = alexnet("submit", file, "--json")
    job = json.loads(out)
    assert (code, err, job["status"]) == (0, "", "QUEUED")
    assert job["id"] in {one["id"] for one in json.loads(alexnet("ls", "--json")[1])["jobs"]}
    assert json.loads(alexnet("show", job["id"], "--json")[1])["attempts"] == []
    assert json.loads(alexnet("checkpoints", job["id"], "--json")[1]) == {"checkpoints": []}
    for verb, desired in (("pause", "pause"), ("resume", "run"), ("cancel", "cancel")):
        assert json.loads(alexnet(verb, job["id"], "--json")[1])["desired"] == desired
    assert service.store.job(job["id"]).desired is Desired.CANCEL


def test_a_job_is_edited(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.QUEUED, "moved", spec=make_spec(labels={"old": "1"}))
    options = ("--priority", "-5", "--label", "team=a=b", "--label", "run=2")
    assert alexnet("edit", "moved", *options)[0] == 2
    options = ("--priority", "-5", "--label", "team=a b", "--label", "run=2")
    code, out, _ = alexnet("edit", "moved", *options, "--remove-label", "old")
    assert (code, out) == (0, "job moved has priority -5; labels: team=a b run=2\n")
    assert json.loads(alexnet("edit", "moved", "--priority", 1, "--json")[1])["id"] == "moved"
    for wrong, told in (
        ((), "nothing is to change"),
        (("--label", "team"), "write KEY=VALUE"),
        (("--label", "a=1", "--remove-label", "a"), "named twice"),
    ):
        code, _, err = alexnet("edit", "moved", *wrong)
        assert code == 2
        assert told in err


def test_jobs_are_shown_as_tables(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.RUNNING, "shown")
    report(service.store, "shown", progress(20))
    assert "shown  RUNNING  2.00" in alexnet("ls", "--status", "RUNNING")[1]
    assert alexnet("ls", "--status", "RETRYING")[1] == "no jobs\n"
    assert "progress       20 of 100 steps" in alexnet("show", "shown")[1]
    assert alexnet("pause", "shown")[1] == "asked job shown to pause; it is RUNNING\n"
    assert alexnet("checkpoints", "shown")[1] == "no checkpoints\n"


def test_a_report_is_shown_or_given_as_json(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.SUCCEEDED, "reported")
    code, out, err = alexnet("report", "reported")
    assert (code, out) == (2, "")
    assert err.startswith("the report of job reported is not in its run directory")
    folder = service.settings.run_root / "reported"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(training_report().model_dump_json())
    assert "Top-1 error 40.70 %, top-5 error 18.20 %" in alexnet("report", "reported")[1]
    found = json.loads(alexnet("report", "reported", "--json")[1])
    assert (found["kind"], found["top1"]) == ("train", 0.593)


def test_jobs_are_listed_by_label(alexnet: Run, service: ControlPlane) -> None:
    for job_id, labels in (("both", {"a": "1", "b": "2"}), ("one", {"a": "1"})):
        job_in(service.store, Status.QUEUED, job_id, spec=make_spec(labels=labels))

    def listed(*options: str) -> list[str]:
        return [job["id"] for job in json.loads(alexnet("ls", "--json", *options)[1])["jobs"]]

    assert listed("--label", "a=1") == ["one", "both"]
    assert listed("--label", "a=1", "--label", "b=2") == ["both"]
    code, out, err = alexnet("ls", "--label", "a")
    assert (code, out) == (2, "")
    assert "query.label.0" in err


@pytest.mark.parametrize(
    ("status", "code"), [(Status.SUCCEEDED, 0), (Status.FAILED, 1), (Status.CANCELLED, 3)]
)
def test_watching_exits_as_the_job_ended(
    alexnet: Run, service: ControlPlane, status: Status, code: int
) -> None:
    job_id = f"watch{status}"
    job_in(service.store, status, job_id)
    exit_code, out, _ = alexnet("watch", job_id)
    assert exit_code == code
    assert f"status         {status}" in out
    exit_code, out, _ = alexnet("watch", job_id, "--json")
    assert exit_code == code
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))


def test_watching_ends_when_the_job_does(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.RUNNING, "live")
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    end = threading.Timer(0.5, lambda: service.store.apply(service.store.job("live"), done, now()))
    end.start()
    code, out, _ = alexnet("watch", "live")
    end.join()
    assert code == 0
    assert "SUCCEEDED" in out


def test_interrupting_a_watch_leaves_the_job_and_says_so(
    alexnet: Run, service: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    job_in(service.store, Status.RUNNING, "left")
    monkeypatch.setattr("service.terminal.follow._View.take", interrupt)
    code, _, err = alexnet("watch", "left")
    assert code == 130
    assert err == "the job goes on; `alexnet cancel left` ends it\n"
    assert service.store.job("left").desired is Desired.RUN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "No such command 'nope'"),
        (("submit", "--bogus"), "No such option: --bogus"),
        (("ls", "--status", "DONE"), "'DONE' is not one of 'QUEUED'"),
        (("ls", "--limit", "0"), "greater than or equal to 1"),
        (("show",), "Missing argument 'JOB'"),
        (("submit", "/nonexistent.json"), "/nonexistent.json cannot be read as JSON"),
        (("submit", "--set", "epochs"), "write FIELD=VALUE, such as optim.epochs=3"),
        (("serve", "--port", "99999"), "ALEXNET_PORT: Input should be less than or equal to 65535"),
        (("serve", "--host", "0.0.0.0"), "ALEXNET_TRUSTED_NETWORK=true"),
        (("serve", "--state-dir", "/proc/none"), "ALEXNET_STATE_DIR: /proc/none cannot be used"),
        (("serve", "--state-dir", "/dev/null"), "name another folder"),
        (("demo", "--folder", "/proc/none"), "name another folder with --folder"),
        (("demo", "--folder", "/dev/null"), "/dev/null cannot be used"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(
    alexnet: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("ALEXNET_PORT", str(free_port()))
    code, out, err = alexnet(*arguments)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert message in lines[-1]
    # Before it at most the usage, and where to read more.
    assert all(line.startswith(("Usage: ", "Try ")) for line in lines[:-1] if line)


def test_what_the_service_refuses_is_a_line_a_field_and_exit_code_2(
    alexnet: Run, service: ControlPlane
) -> None:
    code, out, err = alexnet("submit", "--preset", "small", "--set", "optim.colour=red")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "the job cannot be accepted; nothing was stored",
        "  data: this field is required; add it",
        "  optim.colour: there is no such field; remove it",
    ]
    assert alexnet("show", "unknown")[::2] == (2, "there is no job 'unknown'\n")
    assert alexnet("watch", "unknown")[::2] == (2, "there is no job 'unknown'\n")
    job_in(service.store, Status.SUCCEEDED, "over")
    assert alexnet("cancel", "over")[::2] == (
        2,
        "job over is SUCCEEDED; nothing can change it any more\n",
    )


@pytest.mark.parametrize("command", ["ls", "show any", "watch any", "watch any --json"])
def test_without_a_service_it_says_how_to_have_one(alexnet: Run, command: str) -> None:
    code, out, err = alexnet(*command.split(), "--url", f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (4, "")
    (line,) = err.splitlines()
    assert "start one with `alexnet serve`, or name another with --url or ALEXNET_URL" in line


def test_a_port_that_is_used_is_named(alexnet: Run, service: ControlPlane, tmp_path: Path) -> None:
    port = service.settings.port
    code, _, err = alexnet("serve", "--port", port, "--state-dir", tmp_path / "state")
    assert code == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in err
    assert "--port" in err


def test_a_store_that_is_none_is_named(
    alexnet: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALEXNET_RAY_ADDRESS", "http://127.0.0.1:9")
    (tmp_path / "store.db").write_text("not a database" * 100)
    code, _, err = alexnet("serve", "--port", free_port(), "--state-dir", tmp_path)
    assert code == 2
    named = f"sqlite:///{tmp_path}/store.db"
    assert f"ALEXNET_STORE_URL: {named} cannot be used as the store" in err


def test_stop_finds_nothing_or_a_control_plane_that_runs(
    alexnet: Run, service: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALEXNET_STATE_DIR", str(tmp_path / "none"))
    assert alexnet("stop") == (0, "no local Ray was left behind\n", "")
    assert alexnet("stop", "--quiet") == (0, "", "")
    url, state_dir = service.settings.advertised_url, service.settings.state_dir
    monkeypatch.setenv("ALEXNET_STATE_DIR", str(state_dir))
    owner = LocalRay(state_dir, url=url, num_cpus=None, num_gpus=None)
    assert owner.ownership.acquire()
    code, _, err = alexnet("stop")
    owner.ownership.release()
    assert code == 2
    assert f"a control plane runs: {url}" in err
