"""The attempt's side of the process that draws: rank 0 tells it what is wanted, and never waits.

Whatever becomes of the process or of its disk, training goes on; the log says so.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from data_shards.user_cache import KERNELS_VARIABLE, kernels_folder
from trainer.contract.description import describe
from trainer.contract.durable import write_whole
from trainer.contract.pictures import CLASSES_NAME, PAIRS_NAME, ClassCounts, ConfusionPairs
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.spec import JobSpec
from trainer.devices.memory import spare_bytes
from trainer.pictures.wanted import NoMore, Wanted, line_of
from trainer.warm import launcher

_log = logging.getLogger(__name__)

# For operators: `off` draws nothing.
PICTURES_VARIABLE = "ALEXNET_PICTURES"
# Assumed: more than a busy machine takes; an idle one takes one or two seconds at full size.
PATIENCE_S = 30.0
_POLL_S = 0.1
_MOST_DEATHS = 3
# Measured (docs/LOG.md): 610 MB with a small network, 994 at full size, which is loaded besides;
# the index of ILSVRC-2012 takes 74 more.
_NEEDS_BYTES = 700e6
_BYTES_PER_PARAMETER = 2 * 4
# Who is killed is gone at once, but where a disk holds it.
_GONE_WITHIN_S = 5.0


class Painter:
    """Has the process draw, which is begun when there is something to draw; a context manager."""

    def __init__(self, attempt: AttemptDirectory, *, needs_bytes: float = 0.0) -> None:
        """`needs_bytes`: with less to spare on the node the process is not begun."""
        self._attempt = attempt
        self._needs_bytes = needs_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._has_logged = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    @property
    def pid(self) -> int | None:
        """Of the process, or of what stands for it; None: there is none."""
        return None if self._process is None else self._process.pid

    def draw(
        self, *, step: int, epoch: float, has_checkpoint: bool, counts: ClassCounts | None
    ) -> None:
        """Have a step drawn, and what its evaluation counted."""
        try:
            if counts is not None:
                folder = self._attempt.pictures_at(step)
                folder.mkdir(parents=True, exist_ok=True)
                if counts.pairs is not None:
                    pairs = ConfusionPairs(pairs=counts.pairs)
                    write_whole(folder / PAIRS_NAME, pairs.model_dump_json().encode())
                write_whole(folder / CLASSES_NAME, counts.model_dump_json().encode())
            self._tell(
                Wanted(
                    step=step,
                    epoch=epoch,
                    has_checkpoint=has_checkpoint,
                    has_classes=counts is not None,
                )
            )
        except Exception as error:  # noqa: BLE001  # nothing of it is to end an attempt
            self._log_once(error)

    def _log_once(self, why: object) -> None:
        if not self._has_logged:
            self._has_logged = True
            _log.warning("steps are not drawn, which harms nothing: %s", why)

    def finish(
        self, patience_s: float = PATIENCE_S, *, is_in_the_way: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until what was wanted last is drawn, but not for long; then there is no process.

        `is_in_the_way`: asked meanwhile; then no longer.
        """
        if self._process is None:
            return
        # Where it is gone, its exit code tells.
        with suppress(OSError):
            self._send(NoMore())
        over_s = time.monotonic() + patience_s
        while self._process.poll() is None and not is_in_the_way() and time.monotonic() < over_s:
            time.sleep(_POLL_S)
        if self._process.poll() is None:
            _log.info("the last step is not drawn: there is no time left for it")
        elif self._process.returncode != 0:
            _log.warning("the last step is not drawn: %s", self._end())
        self._kill()

    def _tell(self, wanted: Wanted) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._deaths += 1
            goes_on = "another follows" if self._deaths < _MOST_DEATHS else "none follows"
            _log.warning("%s, which harms nothing; %s", self._end(), goes_on)
            self._kill()
        if self._deaths >= _MOST_DEATHS:
            return
        if self._process is None and (trouble := shortage(self._needs_bytes, spare_bytes())):
            self._log_once(trouble)
            return
        self._process = self._process or self._started()
        self._send(wanted)

    def _end(self) -> str:
        assert self._process is not None
        return f"the process that draws ended (exit code {self._process.returncode})"

    def _send(self, message: Wanted | NoMore) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # It may have stopped reading: what it was told is no newer than what it draws.
        with suppress(BlockingIOError):
            os.write(self._process.stdin.fileno(), line_of(message))

    def _started(self) -> subprocess.Popen[bytes]:
        with self._attempt.log.open("ab") as log:
            process = subprocess.Popen(
                [*_python(), "-m", "trainer.pictures", str(self._attempt.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=_environment(),
            )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _kill(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GONE_WITHIN_S)
        with suppress(OSError):
            for leftover in self._attempt.pictures.rglob(".*.partial"):
                leftover.unlink(missing_ok=True)


def needs_bytes(spec: JobSpec) -> float:
    """Return what the process that draws takes of a node's memory; an evaluation loads nothing."""
    num_parameters = describe(spec).parameters if spec.kind == "train" else 0
    return _NEEDS_BYTES + _BYTES_PER_PARAMETER * num_parameters


def shortage(needs_bytes: float, spare_bytes: float | None) -> str | None:
    """Say that a node has too little memory to spare; None: it has enough, or it is not known."""
    if spare_bytes is None or spare_bytes >= needs_bytes:
        return None
    return (
        f"the node has {max(spare_bytes, 0) / 1e6:,.0f} MB of memory to spare, and drawing takes "
        f"{needs_bytes / 1e6:,.0f}; it is tried again at the next step"
    )


def are_wanted() -> bool:
    """Say whether this machine's operator lets pictures be drawn."""
    return os.environ.get(PICTURES_VARIABLE, "on") != "off"


def _python() -> list[str]:
    """Return Python, forked from a local Ray's warm process where there is one."""
    if launcher.SOCKET_VARIABLE in os.environ:
        return [sys.executable, "-I", "-S", launcher.__file__]
    return [sys.executable]


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        KERNELS_VARIABLE: str(kernels_folder()),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
