"""The process that draws, by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.unit.trainer.running.packed import pack_pictures
from tests.unit.trainer.runs import add_attempt
from tests.waiting import wait_for
from trainer.contract.order_file import read_order, replace_order
from trainer.contract.pictures import INDEX_NAME, SHEET_NAME
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.pictures.wanted import NoMore, Wanted, line_of

TIMEOUT_S = 120
# At its own priority whatever else runs on the machine would starve it.
_PROGRAM = """
import os, sys
from pathlib import Path
from trainer.pictures.__main__ import main
os.nice = lambda _more: 0
main(Path(sys.argv[1]))
"""


def _attempt(root: Path, train: Path) -> AttemptDirectory:
    attempt = add_attempt(RunDirectory(root / "run"))
    order = read_order(attempt)
    data = order.spec.data.model_copy(update={"train": str(train), "validation": "nowhere"})
    spec = order.spec.model_copy(update={"data": data})
    replace_order(attempt, order.model_copy(update={"spec": spec}))
    return attempt


@contextmanager
def _drawing(attempt: AttemptDirectory) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-c", _PROGRAM, str(attempt.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def _draw(process: "subprocess.Popen[bytes]", attempt: AttemptDirectory, step: int) -> None:
    """Have a step drawn that has nothing but its index."""
    wanted = Wanted(step=step, epoch=1.0, has_checkpoint=False, has_classes=False)
    _tell(process, wanted)
    index = attempt.pictures_at(step) / INDEX_NAME
    wait_for("the step", index.exists, timeout_s=TIMEOUT_S)


def _tell(process: "subprocess.Popen[bytes]", message: Wanted | NoMore) -> None:
    assert process.stdin is not None
    process.stdin.write(line_of(message))


def test_the_training_set_is_drawn_once_there_is_time_for_it(tmp_path: Path) -> None:
    attempt = _attempt(tmp_path, pack_pictures(tmp_path))
    with _drawing(attempt) as process:
        _draw(process, attempt, 1)
        wait_for("it", (attempt.pictures / SHEET_NAME).exists, timeout_s=TIMEOUT_S)
        _tell(process, NoMore())
        assert process.wait(TIMEOUT_S) == 0


def _is_read(fifo: Path) -> bool:
    """Say whether somebody has opened it, who goes on then."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_a_set_that_does_not_answer_holds_up_neither_steps_nor_the_end(tmp_path: Path) -> None:
    packed = pack_pictures(tmp_path)
    attempt = _attempt(tmp_path, packed)
    [shard] = packed.glob("*.tar")
    shard.unlink()
    # Whoever opens it waits for somebody to write; each image is another try.
    os.mkfifo(shard)
    with _drawing(attempt) as process:
        _draw(process, attempt, 1)
        wait_for("a read", partial(_is_read, shard), timeout_s=TIMEOUT_S)
        _draw(process, attempt, 2)
        _tell(process, NoMore())
        assert process.wait(TIMEOUT_S) == 0
    assert not (attempt.pictures / SHEET_NAME).exists()
