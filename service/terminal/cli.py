"""`alexnet`: run the service, and everything the REST API can do, from a terminal."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from service.errors import UserError
from service.terminal import access, editing, files, history, jobs, plans, running
from service.terminal.command_groups import (
    Entry,
    GroupedCommands,
    NoReaderError,
    add_commands,
    exit_code_lines,
)
from service.terminal.exit_codes import ExitCode
from service.terminal.options import errors
from service.terminal.printable import printable
from service.terminal.refusals import WrongCommandError, json_line, wants_json
from service.terminal.webhooks import webhooks

app = typer.Typer(
    cls=GroupedCommands,
    help="Train AlexNet as a service.",
    epilog=exit_code_lines(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_JOB = "0123456789ab"
add_commands(
    app,
    "Begin",
    {
        "demo": Entry(running.demo, "demo --folder build/demo"),
        "serve": Entry(running.serve, "serve --port 8000"),
        "stop": Entry(running.stop, "stop"),
    },
)
add_commands(
    app,
    "Submit jobs",
    {
        "plan": Entry(plans.plan, "plan job.json --set optim.epochs=3"),
        "submit": Entry(jobs.submit, "submit job.json --name first --watch"),
        "clone": Entry(plans.clone, f"clone {_JOB} --set optim.learning_rate=.02"),
    },
)
add_commands(
    app,
    "Look at jobs",
    {
        "ls": Entry(jobs.ls, "ls --status RUNNING --label team=blue"),
        "show": Entry(jobs.show, f"show {_JOB}"),
        "watch": Entry(jobs.watch, f"watch {_JOB}"),
        "wait": Entry(jobs.wait, f"wait {_JOB} --timeout 3600"),
        "logs": Entry(files.logs, f"logs {_JOB} --follow --tail 100"),
        "history": Entry(history.history, f"history {_JOB} --from 1000 --points 50"),
        "checkpoints": Entry(files.checkpoints, f"checkpoints {_JOB} --download 9000 -o ."),
        "report": Entry(jobs.report, f"report {_JOB}"),
    },
)
add_commands(
    app,
    "Change jobs",
    {
        "pause": Entry(jobs.pause, f"pause {_JOB}"),
        "resume": Entry(jobs.resume, f"resume {_JOB} --replicas 2"),
        "edit": Entry(editing.edit, f"edit {_JOB} --priority 10 --label team=vision"),
        "cancel": Entry(jobs.cancel, f"cancel {_JOB}"),
        "delete": Entry(jobs.delete, f"delete {_JOB}"),
    },
)
add_commands(
    app,
    "The cluster, and who may use it",
    {
        "cluster": Entry(jobs.cluster, "cluster --limit 50"),
        "usage": Entry(access.usage, "usage --json"),
        "quota": Entry(access.quota, "quota alice --max-active-jobs 4 --gpu-hours none"),
        "audit": Entry(access.audit, f"audit --target {_JOB}"),
        "drain": Entry(access.drain, "drain --pause --wait"),
        "undrain": Entry(access.undrain, "undrain"),
        # Groups of commands stand behind the others.
        "webhooks": Entry(webhooks, "webhooks create https://hooks.example.org/a"),
        "tokens": Entry(access.tokens, "tokens create --owner alice --role submitter"),
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what can be foreseen is said without a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = wants_json(given)
    try:
        code = _run(given, as_json=as_json)
        sys.stdout.flush()
    except (BrokenPipeError, NoReaderError):
        _drop_output()
        code = ExitCode.NO_READER
    except OSError as error:
        code = _not_written(error, as_json=as_json)
    sys.exit(code)


def _run(arguments: Sequence[str], *, as_json: bool) -> int:
    try:
        return _invoke(arguments, as_json=as_json)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.DONE
    except NoReaderError:
        raise
    except UserError as error:
        _tell(error, str(error), as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # told as a fault of ours, by no code of another
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            # As it is told of a smaller output at the end.
            return _not_written(error, as_json=as_json)
        traceback.print_exc()
        return ExitCode.FAULT


def _invoke(arguments: Sequence[str], *, as_json: bool) -> int:
    try:
        # Also as `python -m service`: the shell asks for completion by this name. Typer tells
        # people itself what it cannot make out, with how the command is used.
        code = app(args=arguments, prog_name="alexnet", standalone_mode=not as_json)
    except typer.TyperException as error:
        raise WrongCommandError(error) from error
    return code if isinstance(code, int) else ExitCode.DONE


def _drop_output() -> None:
    # What is still in the buffer has nowhere to go, and must not be told of at the exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _not_written(error: OSError, *, as_json: bool) -> ExitCode:
    _drop_output()
    message = f"it could not be written: {error}; make room, and run the command again"
    _tell(error, message, as_json=as_json)
    return ExitCode.NOT_WRITTEN


def _tell(error: Exception, message: str, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json_line(error, message) + "\n")
        return
    # Not wrapped: a line that is searched or copied is one line.
    errors.print(printable(message), style="red", markup=False, highlight=False, soft_wrap=True)
