"""A service and attempts that take checkpoints by their name alone: what trials must notice."""

import sys
from pathlib import Path

from service.terminal.cli import main as serve
from tests.faults import attempt_here
from trainer.checkpoints import checkpoint
from trainer.contract import checkpoint_folder
from trainer.contract.checkpoint import CheckpointManifest


def _unverified(folder: Path, *_names: object) -> CheckpointManifest:
    return checkpoint_folder.read_manifest(folder)


if __name__ == "__main__":
    checkpoint_folder.verify = _unverified  # type: ignore[assignment]
    checkpoint.verify = _unverified  # type: ignore[attr-defined, assignment]
    if sys.argv[1] == "serve":
        serve()
    else:
        sys.exit(attempt_here.main(Path(sys.argv[1])))
