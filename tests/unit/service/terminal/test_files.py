import json
from pathlib import Path

import pytest

from service.control_plane import ControlPlane
from service.terminal import files
from service.views.files import LogText
from tests.unit.service.api.test_checkpoints import begin
from tests.unit.service.api.test_logs import begin_again, end, write
from tests.unit.service.conftest import job_in
from tests.unit.service.terminal.conftest import Run
from tests.unit.service.world import World
from trainer.contract.checkpoint_folder import verify
from trainer.contract.status import Status


def test_logs_are_printed_by_attempt_and_tail(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.RUNNING, "logged")
    write(service, "logged", b"one\ntwo")
    begin_again(service, "logged")
    write(service, "logged", b"three\nfour\n", 2)
    assert alexnet("logs", "logged") == (0, "three\nfour\n", "")
    assert alexnet("logs", "logged", "--tail", 1)[1] == "four\n"
    assert alexnet("logs", "logged", "--attempt", 1)[1] == "one\ntwo"
    everything = "one\ntwo\n==> attempt 2 <==\nthree\nfour\n"
    assert alexnet("logs", "logged", "--attempt", "all")[1] == everything
    end(service, "logged")
    assert alexnet("logs", "logged", "-f", "--attempt", 1)[1] == everything
    (line,) = alexnet("logs", "logged", "--json", "--tail", 1)[1].splitlines()
    assert json.loads(line) == {"attempt": 2, "offset": 6, "next_offset": 11, "text": "four\n"}
    assert alexnet("logs", "logged", "--attempt", "x")[0] == 2
    assert alexnet("logs", "logged", "--attempt", 9)[0] == 2


def test_a_terminal_is_given_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = LogText(attempt=1, offset=0, next_offset=6, text="a\x1b[2Jb\n")
    files._print(iter([text]), as_json=False)
    assert capsys.readouterr().out == "a\x1b[2Jb\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    files._print(iter([text]), as_json=False)
    assert capsys.readouterr().out == "a\\x1b[2Jb\n"


def test_checkpoints_are_downloaded_pinned_and_deleted(
    alexnet: Run, service: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(service.settings.state_dir, service.store)
    job_in(service.store, Status.RUNNING, "kept")
    begin(world, "kept")
    for step in (10, 20):
        world.checkpoint(step, job_id="kept")
    monkeypatch.chdir(tmp_path)
    code, out, _ = alexnet("checkpoints", "kept", "--download", 10)
    assert (code, out.strip()) == (0, "kept-step-00000010.tar")
    out = alexnet("checkpoints", "kept", "--download", 20, "-o", tmp_path)[1]
    verify(Path(out.strip()))
    listed = json.loads(alexnet("checkpoints", "kept", "--pin", 10, "--json")[1])["checkpoints"]
    assert [one["kept_because"] for one in listed] == [["last", "pinned"], ["last"]]
    assert "last, pinned" in alexnet("checkpoints", "kept")[1]
    assert alexnet("checkpoints", "kept", "--delete", 10)[0] == 2
    assert alexnet("checkpoints", "kept", "--unpin", 10)[0] == 0
    assert "last, pinned" not in alexnet("checkpoints", "kept", "--delete", 10)[1]
    assert alexnet("checkpoints", "kept", "--pin", 1, "--delete", 2)[0] == 2
    assert alexnet("checkpoints", "kept", "-o", "file")[0] == 2
