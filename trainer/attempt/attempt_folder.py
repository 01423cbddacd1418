"""The files of an attempt that are not the loop's: outcome and log."""

import logging
from pathlib import Path
from typing import TextIO

from trainer.contract.attempt import Outcome
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.durable import write_whole
from trainer.contract.lineage import step_of
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

_LINE = "%(asctime)s %(levelname)s %(message)s"


def attempt_at(folder: Path) -> AttemptDirectory:
    """Return the attempt whose folder is RUN_DIR/attempts/NUMBER."""
    folder = folder.absolute()
    return RunDirectory(folder.parents[1]).attempt(int(folder.name))


def write_outcome(attempt: AttemptDirectory, outcome: Outcome) -> Outcome:
    """Write how the attempt ended, with the steps that are committed; its last act."""
    folders = list_folders(RunDirectory(attempt.run))
    committed = step_of(str(folders[0])) if folders else None
    outcome = outcome.model_copy(update={"step": committed})
    write_whole(attempt.outcome, outcome.model_dump_json(indent=1).encode())
    return outcome


def log_to(attempt: AttemptDirectory, *, console: TextIO | None = None) -> None:
    """Send this process's log to the attempt's, and to a console if there is one."""
    handlers: list[logging.Handler] = [logging.FileHandler(attempt.log)]
    if console is not None:
        handlers.append(logging.StreamHandler(console))
    logging.basicConfig(level=logging.INFO, format=_LINE, handlers=handlers, force=True)
    # One line a request would drown the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)
