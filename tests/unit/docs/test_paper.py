"""docs/paper.md names only what exists."""

import importlib
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from trainer.contract.spec import JobSpec

TEXT = (Path(__file__).parents[3] / "docs/paper.md").read_text(encoding="utf-8")
_CODE = re.compile(r"`([^`]+)`")
_OURS = re.compile(r"(spec|trainer|data_shards)\.[A-Za-z_.0-9]+")


def _rows() -> list[list[str]]:
    """Return the cells of every row of every table, headings and rules left out."""
    rows = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in row]
        for row in rows
        if row[0].strip() != "the paper" and set(row[0]) != {"-"}
    ]


NAMES = sorted({name for name in _CODE.findall(TEXT) if _OURS.fullmatch(name)})


def test_every_row_has_four_cells_and_its_third_holds_nothing_but_names() -> None:
    rows = _rows()
    assert len(rows) > 20
    for row in rows:
        assert len(row) == 4, row
        assert all(row[:2]), row
        assert _CODE.sub("", row[2]).strip(", ") == "", row
        assert {*_CODE.findall(row[2])} <= {*NAMES}, row


@pytest.mark.parametrize("name", NAMES)
def test_what_is_named_exists(name: str) -> None:
    root, *rest = name.split(".")
    assert _is_field(rest) if root == "spec" else _is_symbol(name)


def _is_field(path: list[str]) -> bool:
    record: Any = JobSpec
    for name in path:
        kinds = [record, *get_args(record)]
        fields = [kind.model_fields for kind in kinds if _is_record(kind)]
        found = [each[name].annotation for each in fields if name in each]
        if not found:
            return False
        record = found[0]
    return True


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_symbol(name: str) -> bool:
    """Say whether a.b.C.d is d of C of the module a.b, or such."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize(
    "name",
    [
        "spec.model.lrm",
        "spec.modle",
        "trainer.network.lrn.Lrm",
        "trainer.network.lnr",
        "spec.seed.x",
    ],
)
def test_the_test_notices_what_does_not_exist(name: str) -> None:
    root, *rest = name.split(".")
    assert not (_is_field(rest) if root == "spec" else _is_symbol(name))
