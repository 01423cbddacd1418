"""The record of a local Ray: kept whole, and never of a process that only has its number."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cluster.processes import start_of
from service.cluster.ray_record import Record, read_record, write_record

HERE = Record(temp_dir="/x", url="http://ray", pid=os.getpid(), start=start_of(os.getpid()))

records = st.builds(
    Record,
    temp_dir=st.text(),
    url=st.text(),
    pid=st.none() | st.integers(min_value=1),
    start=st.none() | st.text(),
    warm_code=st.none() | st.text(),
)


@given(record=records)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    path = tmp_path_factory.getbasetemp() / "ray.json"
    write_record(path, record)
    assert read_record(path) == record


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "ray.json") is None


@pytest.mark.parametrize("text", ["", "[]", '{"temp_dir": "/x"}', '{"pid": 1, "other": 2}'])
def test_one_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ray.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ray\.json cannot be read"):
        read_record(path)


def test_one_lives_while_its_process_does() -> None:
    assert HERE.lives
    assert HERE.session == HERE.pid


def test_one_without_a_process_neither_lives_nor_has_a_session() -> None:
    for record in (replace(HERE, pid=None), replace(HERE, start=None)):
        assert not record.lives
        assert record.session is None


@pytest.mark.parametrize("change", ["ticks", "boot"])
def test_a_later_process_of_its_number_is_not_it(change: str) -> None:
    boot, ticks = str(HERE.start).split()
    starts = {"ticks": f"{boot} {int(ticks) + 1}", "boot": f"another {ticks}"}
    later = replace(HERE, start=starts[change])
    assert not later.lives
    assert later.session is None
