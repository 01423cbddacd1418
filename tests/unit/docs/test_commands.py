"""Every command that the documents name is one, with the options that they give it."""

import base64
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from service.terminal.cli import app
from service.terminal.exit_codes import ExitCode
from service.terminal.refusals import CommandProblem
from service.webhooks.signing import new_message_id, new_secret, signed_headers

ROOT = Path(__file__).parents[3]
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
PAGES += ["deploy/README.md"]
GROUP: Any = typer.main.get_command(app)


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `alexnet ...` of code blocks and of what stands in backticks."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        for part in re.split(r"\s(?:&&|\|\|?|;)\s|\$\(", line):
            found = re.match(r"\s*(?:[A-Z_]+=\S*\s+)*(?:\S*/)?alexnet (.+)", part)
            if found is not None and found[1] != "COMMAND --help":
                yield words_of(found[1])


def words_of(line: str) -> list[str]:
    words = shlex.split(line.removesuffix(")"), comments=True)
    end = next((place for place, word in enumerate(words) if word in {">", "<", "&"}), None)
    return words[:end]


def problem_with(arguments: list[str]) -> str | None:
    """Say what the command line has not of a command."""
    command, rest = GROUP, list(arguments)
    while rest and hasattr(command, "commands"):
        if rest[0].startswith("-"):
            break
        found = command.commands.get(rest[0])
        if found is None:
            return f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in rest:
        name = word.partition("=")[0]
        is_option = name.startswith("-") and not re.fullmatch(r"-[0-9.]+", name)
        if is_option and name not in options | {"--help"}:
            return f"{command.name} has no option {name}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    wrong = [
        f"alexnet {' '.join(arguments)}: {problem}"
        for arguments in commands_in((ROOT / page).read_text())
        if (problem := problem_with(arguments))
    ]
    assert not wrong


def test_the_pages_do_name_commands_and_wrong_ones_would_be_found() -> None:
    named = [words for page in PAGES for words in commands_in((ROOT / page).read_text())]
    assert len(named) > 30
    page = "`alexnet shw`\n```\nx/alexnet ls --status R | alexnet show -f  # --none\n```\n"
    assert [problem_with(words) for words in commands_in(page)] == [
        None,
        "show has no option -f",
        "there is no command 'shw'",
    ]


def test_every_command_has_an_example_that_is_right() -> None:
    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, command.epilog or ""
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}")

    examples = list(walk(GROUP, "alexnet"))[1:]
    assert len(examples) > 30
    for path, epilog in examples:
        start, _, example = epilog.partition(": ")
        assert start == "Example", path
        assert example.startswith(f"{path}"), path
        assert problem_with(words_of(example.removeprefix("alexnet "))) is None, example


def test_the_page_of_exit_codes_is_their_table() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(str(int(one)), one.meaning) for one in ExitCode]


def test_the_page_of_what_is_wrong_is_its_table() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*)\. \|$", text, re.MULTILINE)
    assert rows == [(one.rpartition(":")[2], one.summary) for one in CommandProblem]


def test_the_verification_that_is_shown_takes_what_is_sent_and_nothing_else() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "operating.md", "exec"), names)  # our own page
    is_genuine, secret, body = names["is_genuine"], new_secret(), b'{"type": "job.failed"}'
    headers = signed_headers(secret, new_message_id(), datetime.now(UTC), body)
    assert is_genuine(headers, body, secret)
    assert not is_genuine(headers, body + b" ", secret)
    assert not is_genuine(headers, body, new_secret())
    assert not is_genuine(headers | {"webhook-id": new_message_id()}, body, secret)
    old = datetime.fromtimestamp(1_000_000_000, UTC)
    assert not is_genuine(signed_headers(secret, "msg_1", old, body), body, secret)
    assert base64.b64decode(secret.removeprefix("whsec_"))
