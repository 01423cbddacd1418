"""Attempts one after the other: `python -m tests.faults.attacks.attempts_here FOLDER...`.

With `--unguarded` before the folders they look at nothing again, and unpickle weights.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from tests.faults import attempt_here
from trainer.checkpoints import init_from
from trainer.running import replica


def _unpickle(folder: Path, name: str) -> Any:
    return torch.load(folder / name, weights_only=False)


def main(arguments: list[str]) -> None:
    """Run each in a process of its own, which need not import torch again."""
    if arguments[0] == "--unguarded":
        replica.refuse_outside_roots = lambda _: None  # type: ignore[assignment]
        init_from.read_tensors = _unpickle  # type: ignore[attr-defined]
        arguments = arguments[1:]
    for folder in arguments:
        pid = os.fork()
        if pid == 0:
            os._exit(attempt_here.main(Path(folder)))
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
