"""How `alexnet --help` lists commands: in groups, in the order in which people use them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperGroup

from service.errors import UserError
from service.terminal.exit_codes import ExitCode

Command = Callable[..., None] | typer.Typer


class NoReaderError(UserError):
    """Whoever read the output has gone; nothing is said of it."""

    exit_code = ExitCode.NO_READER


@dataclass(frozen=True)
class Entry:
    """A command as it is listed."""

    command: Command
    example: str
    """What one would write, without `alexnet`."""


class GroupedCommands(TyperGroup):
    """Lists commands as they were added, under the panel of each."""

    def make_context(self, *args: Any, **options: Any) -> typer.Context:
        """Begin; what is printed here is help."""
        with _telling_readers_apart():
            return super().make_context(*args, **options)  # type: ignore[return-value]

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _telling_readers_apart():
            return super().invoke(ctx)

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        width = max(map(len, self.commands))
        listed = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        for panel, group in groupby(listed, key=_panel):
            limit = formatter.width - 6 - width
            rows = [(f"{name:<{width}}", one.get_short_help_str(limit)) for name, one in group]
            with formatter.section(panel or "Commands"):
                formatter.write_dl(rows)


def add_commands(app: typer.Typer, group: str, entries: dict[str, Entry]) -> None:
    """Add commands under the heading of their group."""
    for name, entry in entries.items():
        epilog = f"Example: alexnet {entry.example}"
        if isinstance(entry.command, typer.Typer):
            app.add_typer(entry.command, name=name, rich_help_panel=group, epilog=epilog)
        else:
            app.command(name, rich_help_panel=group, epilog=epilog)(entry.command)


def exit_code_lines() -> str:
    """Return the table of exit codes, a line each, for the end of the help."""
    lines = [f"{one:>4}  {one.meaning}" for one in ExitCode]
    return "\b\n" + "\n".join(["Exit codes:", *lines])


def _panel(listed: tuple[str, Any]) -> str | None:
    panel: str | None = listed[1].rich_help_panel
    return panel


@contextmanager
def _telling_readers_apart() -> Iterator[None]:
    # Typer would exit with 1, which says that a job has failed.
    try:
        yield
    except BrokenPipeError as error:
        raise NoReaderError from error
