import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from trainer.__main__ import app
from trainer.contract.description import describe
from trainer.contract.spec import JobSpec
from trainer.network.describe import tables
from trainer.running.local import read_preset


def test_a_removed_layer_is_said_to_be_removed(job: Callable[..., JobSpec]) -> None:
    description = describe(job(model={"removed_layer": "conv2"}))
    conv2 = description.layers[1]
    assert (conv2.parameters, conv2.output, conv2.pooled) == (0, (96, 27, 27), (96, 13, 13))
    console = Console(file=io.StringIO(), width=80)
    console.print(tables(description))
    assert isinstance(console.file, io.StringIO)
    line = next(line for line in console.file.getvalue().splitlines() if "conv2" in line)
    assert "removed" in line


def test_tables_fit_a_terminal_of_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(tables(describe(read_preset("paper"))))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for figure in ("60,965,224", "724.4 M", "234,496 B", "device 1", "total at 128"):
        assert figure in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_command_prints_json() -> None:
    result = CliRunner().invoke(app, ["describe", "--preset", "paper", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["parameters"] == 60_965_224


def test_command_describes_a_job(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(
        json.dumps(
            {
                "preset": "small",
                "name": "job",
                "data": {"train": "t", "validation": "v"},
                "model": {"num_classes": 7},
            }
        )
    )
    result = CliRunner().invoke(app, ["describe", "--spec", str(file), "--json"])
    assert json.loads(result.stdout)["layers"][-1]["output"] == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "there is no preset 'huge'; choose one of paper, "),
        ([], "name either --preset NAME or --spec job.json\n"),
        (["--spec", "absent.json"], "absent.json cannot be read"),
    ],
)
def test_command_says_in_one_line_what_is_wrong(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["describe", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
