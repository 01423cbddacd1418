"""`make demo`: the figures the README promises, an independent recount, and nothing left behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.product import traces
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def _demo(folder: Path, temporary: Path) -> "Iterator[subprocess.Popen[str]]":
    demo = subprocess.Popen(
        ["make", "--no-print-directory", "demo", f"DEMO_ARGS=--folder {folder}"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            # Its control plane stops when its standard input closes.
            os.killpg(demo.pid, signal.SIGKILL)
            demo.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def temporary() -> Iterator[Path]:
    # Short, because Ray puts sockets in it and their paths are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_the_demo_learns_and_leaves_nothing(folder: Path, temporary: Path) -> None:
    before = traces(folder, temporary)
    with _demo(folder, temporary) as demo:
        # For what hangs; how long it takes depends on what else is at work.
        output, _ = demo.communicate(timeout=900)
    print(output)
    assert demo.returncode == 0
    word, _, document = output.splitlines()[-1].partition(" ")
    assert word == "DEMO"
    result = json.loads(document)
    assert result["status"] == "SUCCEEDED"
    assert result["top1"] >= 0.80
    assert result["top5"] >= result["top1"]
    assert result["images_per_second"] > 0
    assert result["checkpoints"] >= 1
    assert traces(folder, temporary) - before == set()

    recount = subprocess.run(
        [sys.executable, ROOT / "tests/acceptance/recompute_top1.py", folder, result["job_id"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(recount.stdout) == pytest.approx(result["top1"], abs=1e-9)


def test_ctrl_c_leaves_nothing(folder: Path, temporary: Path) -> None:
    before = traces(folder, temporary)
    log = folder / "serve.log"
    log.unlink(missing_ok=True)
    with _demo(folder, temporary) as demo:
        wait_for("the service to start", lambda: log.exists() and log.stat().st_size, timeout_s=60)
        runs = folder / "state" / "runs"
        known = set(runs.glob("*/attempts/*/ledger-0.jsonl"))
        wait_for(
            "a step of training",
            lambda: set(runs.glob("*/attempts/*/ledger-0.jsonl")) - known,
            timeout_s=120,
        )
        # As a terminal does it: to the whole foreground group.
        os.killpg(demo.pid, signal.SIGINT)
        output, _ = demo.communicate(timeout=90)
    assert demo.returncode != 0
    assert "Traceback" not in output
    assert traces(folder, temporary) - before == set()
