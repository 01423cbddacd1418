"""One control plane as a process, on a store that is there already, without any Ray."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

START_TIMEOUT_S = 60.0
# Nobody listens there: a cluster that is away. Jobs that run are left as they are.
_NO_RAY = "http://127.0.0.1:9"


@contextlib.contextmanager
def serving(state_dir: Path, store_url: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Serve a store, give the URL, and end the process, by its id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "ALEXNET_STATE_DIR": str(state_dir),
        "ALEXNET_STORE_URL": store_url,
        "ALEXNET_PORT": str(port),
        "ALEXNET_RAY_ADDRESS": _NO_RAY,
        **settings,
    }
    log = state_dir.with_suffix(".log")
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--until-stdin-closes"],
            env=environment,
            # It ends by itself where this process is killed.
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Ctrl-C ends the bench, and the bench what it has started.
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_leads(process, url, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _wait_until_it_leads(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").json().get("role") == "leader":
                return
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start; its log:\n{log.read_text()[-3000:]}")
