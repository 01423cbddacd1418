"""`alexnet demo`: from no data to a trained network, through the service as a user would.

Everything it makes lies in one folder; what is there from an earlier run is used again.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client.client import Client
from service.client.errors import ServiceUnreachableError
from service.errors import UserError
from service.terminal.follow import follow
from service.terminal.printable import printable
from trainer.contract.report import TrainingReport
from trainer.contract.status import TERMINAL, Status

NUM_TRAINING_IMAGES = 12_000
NUM_VALIDATION_IMAGES = 2_000
# The paper crops 224 of 256; 64 of 72 leaves about the same margin.
PACKED_IMAGE_SIZE = 72
SAMPLES_PER_SHARD = 500
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class DemoError(UserError):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The last line of the demo."""

    job_id: str
    status: str
    top1: float | None
    top5: float | None
    images_per_second: float | None
    checkpoints: int
    seconds: float

    def line(self) -> str:
        """Return the line that scripts read."""
        return "DEMO " + json.dumps(self.__dict__)


def run_demo(*, folder: Path, source: Path | None, console: Console) -> DemoResult:
    """Fetch, pack, serve, submit, follow; raise DemoError where that cannot be done."""
    started = time.monotonic()
    folder = _usable(folder)
    with _only_one(folder / "lock"):
        images = folder / "fashion-mnist"
        _step("fetch", "fashion-mnist", images, *(("--from", source) if source else ()))
        shards = folder / "shards"
        _pack(images, shards / "train", split="train", limit=NUM_TRAINING_IMAGES)
        _pack(images, shards / "validation", split="validation", limit=NUM_VALIDATION_IMAGES)
        with _control_plane(folder, console) as client:
            _cancel_leftovers(client)
            job = client.submit(
                {
                    "preset": "small",
                    "name": "demo",
                    "data": {
                        "train": str(shards / "train" / "manifest.json"),
                        "validation": str(shards / "validation" / "manifest.json"),
                    },
                }
            )
            console.print(f"submitted job [bold]{job.id}[/]: POST {client.url}/jobs")
            try:
                job = follow(client, job.id, console)
            except KeyboardInterrupt:
                _cancel(client, job.id)
                raise
            checkpoints = client.checkpoints(job.id)
            report = job.report if isinstance(job.report, TrainingReport) else None
    result = DemoResult(
        job_id=job.id,
        status=job.status,
        top1=report.top1 if report else None,
        top5=report.top5 if report else None,
        images_per_second=round(report.images_per_second, 1) if report else None,
        checkpoints=len(checkpoints),
        seconds=round(time.monotonic() - started, 1),
    )
    console.print(_table(result, folder))
    if job.status is not Status.SUCCEEDED:
        # Not markup: it may be the end of a log, with brackets of its own.
        console.print(Text(printable(job.message or job.status), style="red"))
    return result


def _usable(folder: Path) -> Path:
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    except (OSError, RuntimeError) as error:
        raise DemoError(
            f"{folder} cannot be used ({error}); name another folder with --folder"
        ) from error
    return folder


def _cancel_leftovers(client: Client) -> None:
    # The control plane is the demo's own. What an earlier demo left behind, killed or without its
    # service, would train beside this one's job on the same few cores.
    for status in Status:
        if status not in TERMINAL:
            for job in client.list(status=status, limit=500).jobs:
                _cancel(client, job.id)


def _cancel(client: Client, job_id: str) -> None:
    # It may have ended meanwhile, or the service with it; then there is nothing to cancel.
    with contextlib.suppress(UserError):
        client.cancel(job_id)


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    # The lock dies with the process, so a killed demo does not stop the next one.
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(
                f"another demo is running in {lock.parent}; wait for it, "
                "or give this one its own place with --folder"
            ) from None
        yield


def _pack(images: Path, out: Path, *, split: str, limit: int) -> None:
    _step(
        "pack",
        images,
        out,
        "--split",
        split,
        "--limit",
        limit,
        "--size",
        PACKED_IMAGE_SIZE,
        "--samples-per-shard",
        SAMPLES_PER_SHARD,
    )


def _step(*arguments: object) -> None:
    command = [sys.executable, "-m", "data_shards", *map(str, arguments)]
    if subprocess.run(command, check=False).returncode:
        raise DemoError(f"`python -m data_shards {arguments[0]}` failed; its message is above")


@contextlib.contextmanager
def _control_plane(folder: Path, console: Console) -> Iterator[Client]:
    """Run `alexnet serve` on a free loopback port until the block ends."""
    log = folder / "serve.log"
    url = f"http://127.0.0.1:{_free_port()}"
    environment = {
        **os.environ,
        "ALEXNET_STATE_DIR": str(folder / "state"),
        "ALEXNET_DATA_ROOTS": json.dumps([str(folder)]),
        "ALEXNET_PORT": url.rsplit(":", 1)[1],
    }
    with (
        log.open("wb") as output,
        _serve(environment, output) as process,
        Client(url) as client,
    ):
        try:
            with console.status("starting the control plane and a local Ray"):
                _wait_ready(client, process, log)
            yield client
        finally:
            with console.status("stopping them"):
                _stop(process, environment)


def _serve(environment: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    # Its own session: Ctrl-C reaches only the demo, which then stops it in good order. Standard
    # input: when the demo dies, however it dies, the pipe closes and the control plane stops.
    return subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--until-stdin-closes"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_ready(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(ServiceUnreachableError):
            if client.ready():
                return
        time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise DemoError(f"the control plane did not become ready; the end of {log}:\n{tail}")


def _stop(process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        command = [sys.executable, "-m", "service", "stop", "--quiet"]
        subprocess.run(command, env=environment, check=False)


def _table(result: DemoResult, folder: Path) -> Table:
    table = Table(title="AlexNet, quarter width, on Fashion-MNIST", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    table.add_row("status", result.status)
    if result.top1 is not None and result.top5 is not None:
        table.add_row("top-1 accuracy", f"{result.top1:.1%}")
        table.add_row("top-5 accuracy", f"{result.top5:.1%}")
    if result.images_per_second is not None:
        table.add_row("images per second", f"{result.images_per_second:,.0f}")
    table.add_row("checkpoints", str(result.checkpoints))
    table.add_row("seconds, all in all", f"{result.seconds:,.0f}")
    table.add_row("run directory", Text(str(folder / "state" / "runs" / result.job_id)))
    return table
