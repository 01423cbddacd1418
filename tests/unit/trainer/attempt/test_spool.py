import gc
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.attempt.spool import Spool
from trainer.contract.durable import DiskFullError
from trainer.contract.events import Finished


def _event(step: int) -> Finished:
    return Finished(outcome="paused", step=step)


def _numbers(spool: Spool, limit: int = 200) -> list[int]:
    return [event.number for event in spool.unsent(limit)]


def test_what_is_unsent_is_read_back_in_order_by_the_batch(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for step in range(5):
        spool.append(_event(step))
    assert _numbers(spool, limit=3) == [1, 2, 3]
    assert [event.data for event in spool.unsent(9)] == [_event(step) for step in range(5)]
    spool.mark_stored(3)
    assert (_numbers(spool), spool.num_unsent) == ([4, 5], 2)
    spool.mark_stored(5)
    assert (_numbers(spool), spool.num_unsent) == ([], 0)
    spool.append(_event(9))
    assert _numbers(spool) == [6]
    spool.close()
    assert _numbers(spool) == [6]


@given(
    words=st.lists(st.one_of(st.integers(0, 30), st.just("append")), max_size=60),
    limit=st.integers(1, 8),
)
def test_whatever_the_control_plane_says_it_gets_what_it_lacks(
    words: list[int | str], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool") / "spool")
    appended = stored = 0
    for word in words:
        if isinstance(word, int):
            stored = min(word, appended)
            spool.mark_stored(word)
        else:
            spool.append(_event(appended))
            appended += 1
        expected = list(range(stored + 1, appended + 1))
        assert (_numbers(spool, limit), spool.num_unsent) == (expected[:limit], len(expected))
    spool.close()


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(_event(1))
    with (tmp_path / "spool").open("ab") as other:
        other.write(b'{"number":2')
    assert _numbers(spool) == [1]
    spool.mark_stored(2)
    assert spool.num_unsent == 0
    assert _numbers(spool) == []
    spool.close()


def test_an_outage_takes_no_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(_event(0))
    tracemalloc.start()
    for step in range(5000):
        spool.append(_event(step))
    # Garbage is not held, though in a large process it is seldom looked for.
    gc.collect()
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spool.close()
    assert held_bytes < (tmp_path / "spool").stat().st_size / 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").symlink_to("/dev/full")
    spool = Spool(tmp_path / "spool")
    with pytest.raises(DiskFullError, match="spool cannot be written"):
        spool.append(_event(1))
    with pytest.raises(DiskFullError, match="spool cannot be written"):
        spool.close()
