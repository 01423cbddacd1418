"""What a local Ray is started with."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from service.cluster.ray_processes import MARK
from service.cluster.ray_start import Ports, RayStart, free_ports

START = RayStart(
    temp_dir="/x",
    ports=Ports(dashboard=1, client=2, autoscaler_metrics=3, dashboard_metrics=4),
    token_path=Path("/state/ray-token"),
    num_cpus=None,
    num_gpus=None,
    warm=False,
)


def test_all_that_is_told_an_address_is_told_loopback() -> None:
    options = dict(word.split("=") for word in START.command() if "=" in word and word[0] == "-")
    assert options["--node-ip-address"] == options["--dashboard-host"] == "127.0.0.1"
    assert START.environment({})["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


@pytest.mark.parametrize("num", [0, 3])
def test_what_ray_has_is_told_it_or_left_to_it(num: int) -> None:
    told = replace(START, num_cpus=num, num_gpus=num)
    assert set(told.command()) - set(START.command()) == {f"--num-cpus={num}", f"--num-gpus={num}"}


def test_its_metrics_are_on_the_port_that_was_asked_for_or_any_free_one() -> None:
    assert "--metrics-export-port=0" in START.command()
    assert "--metrics-export-port=8081" in replace(START, metrics_port=8081).command()


def test_a_keeper_of_its_warm_process_is_started_beside_it() -> None:
    _, _, script, *rest = replace(START, warm=True).command()
    assert "-m trainer.warm.keeper /x/fork.sock & exec" in script
    assert rest[1:] == START.command()


def test_no_keeper_stays_whose_ray_was_gone_before_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Python of the keeper, which begins only when the shell, and so its Ray, is gone.
    late = tmp_path / "python"
    late.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "while os.getppid() == os.getsid(0):\n    os.sched_yield()\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    late.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(late))
    start = replace(START, temp_dir=str(tmp_path), warm=True)
    shell, option, script, name, *_ = start.command()
    with subprocess.Popen(
        [shell, option, script, name, "true"], stdout=subprocess.PIPE, start_new_session=True
    ) as ray:
        try:
            # What it started holds the pipe as long as it lives.
            assert ray.communicate(timeout=60)[0] == b""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(ray.pid, signal.SIGKILL)
    assert not list(tmp_path.glob("fork.sock*"))


def test_it_inherits_all_but_the_address_and_the_mark_of_another() -> None:
    outer = {"RAY_ADDRESS": "elsewhere", MARK: "/other", "HOME": "/home", "RAY_AUTH_MODE": "none"}
    environment = START.environment(outer)
    assert "RAY_ADDRESS" not in environment
    assert (environment[MARK], environment["HOME"]) == ("/x", "/home")
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/state/ray-token"  # a path


def test_training_gives_way_to_no_other_process() -> None:
    assert START.environment({"RAY_worker_niceness": "15"})["RAY_worker_niceness"] == "0"


def test_free_ports_differ() -> None:
    ports = astuple(free_ports())
    assert len(set(ports)) == len(ports)
    assert all(ports)
