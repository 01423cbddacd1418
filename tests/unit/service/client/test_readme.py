"""What README says of the client is run as it stands there."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from tests.unit.service.conftest import FIRST_ATTEMPT, now, progress, report, wait_until
from trainer.contract.attempt import Outcome
from trainer.contract.status import Status

ROOT = Path(__file__).parents[4]
DEMO = "build/demo/shards"


def snippet(section: str) -> str:
    (below,) = re.findall(
        rf"^### {section}\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S
    )
    (code,) = re.findall(r"```python\n(.*?)```", below, re.DOTALL)
    return str(code)


def test_the_client_does_what_readme_says(
    plane: ControlPlane,
    request_body: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    data_root: Path,
) -> None:
    code = snippet("From Python")
    assert "http://127.0.0.1:8000" in code
    assert DEMO in code
    code = code.replace("http://127.0.0.1:8000", plane.settings.advertised_url)
    code = code.replace(DEMO, str(data_root))
    store = plane.store

    def train() -> None:
        job = wait_until(lambda: store.jobs(limit=1, status=Status.QUEUED))[0]
        job = store.begin_attempt(job, FIRST_ATTEMPT, now())
        store.apply(job, Decision(status=Status.RUNNING), now())
        report(store, job.id, progress(3))
        done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
        store.apply(store.job(job.id), done, now())

    training = threading.Thread(target=train)
    training.start()
    exec(compile(code, "README.md", "exec"), {})  # our own README
    training.join()
    *told, last = capsys.readouterr().out.splitlines()
    assert '"after":"SUCCEEDED"' in told[-1]
    assert last == "SUCCEEDED None"
