import os
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from tests.ledgers import presented
from tests.unit.trainer.runs import add_attempt, add_checkpoint, add_steps
from trainer.attempt.ledger import Ledger, LedgerCounts, Skipped, count_committed, entries
from trainer.contract.durable import DiskFullError
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_one_attempt_alone(run: RunDirectory) -> None:
    add_steps(add_attempt(run), range(12))
    ledger = presented(run.path)
    assert ledger.epochs == {
        0: [sample for step in range(10) for sample in (10 * step, 10 * step + 5)],
        1: [0, 5, 10, 15],
    }
    assert (ledger.steps_done, ledger.steps_redone) == (12, 0)


def test_steps_done_again_count_once_for_the_attempt_that_did_them_last(run: RunDirectory) -> None:
    first = add_attempt(run)
    add_steps(first, range(8))
    at_4 = add_checkpoint(first, 4)
    second = add_attempt(run, resume_from=at_4)
    add_steps(second, range(4, 7))
    third = add_attempt(run, resume_from=at_4)
    add_steps(third, range(4, 10))
    ledger = presented(run.path)
    expected = Counter(sample for step in range(10) for sample in (10 * step, 10 * step + 5))
    assert Counter(ledger.epochs[0]) == expected
    assert (ledger.steps_done, ledger.steps_redone) == (10, 8 + 3 + 6 - 10)


def test_an_attempt_that_began_anew_disowns_all_before_it(run: RunDirectory) -> None:
    add_steps(add_attempt(run), range(6))
    add_steps(add_attempt(run), range(3))
    ledger = presented(run.path)
    assert (ledger.steps_done, ledger.steps_redone) == (3, 6)


def test_replicas_are_put_together_by_step_then_rank(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    for rank in (1, 0, 2):
        add_steps(attempt, range(2), rank=rank)
    ledger = presented(run.path)
    assert ledger.epochs[0] == [0, 5, 1, 6, 2, 7, 10, 15, 11, 16, 12, 17]
    assert (ledger.steps_done, ledger.steps_redone) == (2, 0)


def test_a_line_cut_short_was_not_done(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    add_steps(attempt, range(3))
    with attempt.ledger(0).open("a") as file:
        file.write('{"step":3,"epoch":0,"lo')
    assert presented(run.path).steps_done == 3


def test_an_attempt_that_died_before_its_first_step_changes_nothing(run: RunDirectory) -> None:
    first = add_attempt(run)
    add_steps(first, range(6))
    add_attempt(run, resume_from=add_checkpoint(first, 6))
    assert presented(run.path).steps_done == 6


def test_skipped_samples_are_named_whatever_their_name(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    # A line separator in a key is no end of a line.
    names = ["train-0.tar:a\u2028b", "train-0.tar:é"]
    corrupt = [corrupt_sample(4, *name.split(":")) for name in names]
    with Ledger(attempt.ledger(0)) as ledger:
        ledger.write(step=0, epoch=0, loss=1.5, samples=[1, 2], corrupt=corrupt)
        ledger.write(step=1, epoch=0, loss=1.5, samples=[3], corrupt=[])
    committed = presented(run.path)
    assert committed.skipped == {0: names}
    assert committed.epochs == {0: [1, 2, 3]}


def test_a_run_that_never_began_has_an_empty_ledger(run: RunDirectory) -> None:
    ledger = presented(run.path)
    assert (ledger.epochs, ledger.steps_done, ledger.steps_redone) == ({}, 0, 0)


@given(data=st.data(), num_attempts=st.integers(1, 5))
def test_whatever_was_lost_each_step_counts_once(
    data: st.DataObject, num_attempts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    trained, resume_from, start = 0, None, 0
    for number in range(num_attempts):
        attempt = add_attempt(run, resume_from=resume_from)
        stop = 30 if number == num_attempts - 1 else data.draw(st.integers(start, 30), "stop")
        add_steps(attempt, range(start, stop))
        trained += stop - start
        saved = data.draw(st.integers(start, stop), "saved")
        if saved > start:
            # A name is all that the lineage reads of a checkpoint.
            start, resume_from = saved, attempt.checkpoint(saved)
    ledger = presented(run.path)
    expected = Counter(sample for step in range(10) for sample in (10 * step, 10 * step + 5))
    assert all(Counter(ledger.epochs[epoch]) == expected for epoch in range(3))
    assert (ledger.steps_done, ledger.steps_redone) == (30, trained - 30)
    assert count_committed(run.path) == LedgerCounts(
        samples_presented=60, samples_skipped=0, skipped_by_reason={}, steps_redone=trained - 30
    )


def test_counts_are_of_all_replicas(run: RunDirectory) -> None:
    first = add_attempt(run)
    for rank in range(3):
        add_steps(first, range(5), rank=rank)
        add_skipped(first, 5, rank=rank)
    second = add_attempt(run, resume_from=first.checkpoint(4))
    for rank in range(2):
        add_skipped(second, 4, rank=rank)
    assert count_committed(run.path) == LedgerCounts(
        samples_presented=4 * 3 * 2,
        samples_skipped=2 * 2,
        skipped_by_reason={CorruptReason.BROKEN: 4},
        steps_redone=2,
    )
    ledger = presented(run.path)
    assert (len(ledger.epochs[0]), len(ledger.skipped[0]), ledger.steps_redone) == (24, 4, 2)


def add_skipped(attempt: AttemptDirectory, step: int, *, rank: int) -> None:
    """Enter a step of which nothing could be read."""
    corrupt = [corrupt_sample(1, "t.tar", "a"), corrupt_sample(2, "t.tar", "b")]
    with Ledger(attempt.ledger(rank)) as ledger:
        ledger.write(
            step=step,
            epoch=0,
            loss=0.0,
            samples=[],
            corrupt=corrupt,
        )


def corrupt_sample(sample: int, shard: str, key: str) -> CorruptSample:
    return CorruptSample(sample, shard, key, CorruptReason.BROKEN, "is cut short")


def test_keys_stand_beside_the_numbers_where_they_are_asked_for(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    with Ledger(attempt.ledger(0)) as ledger:
        ledger.write(step=0, epoch=0, loss=1.5, samples=[7], keys=["t.tar:a"], corrupt=[])
        ledger.write(step=1, epoch=0, loss=1.5, samples=[], keys=[], corrupt=[])
        ledger.write(step=2, epoch=0, loss=1.5, samples=[8], corrupt=[])
    assert [entry.line.keys for entry in entries(run.path)] == [("t.tar:a",), (), None]


def test_a_skipped_sample_is_entered_with_its_number_and_reason(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    add_skipped(attempt, 0, rank=0)
    (entry,) = entries(run.path)
    assert entry.line.skipped == (
        Skipped(name="t.tar:a", sample=1, reason=CorruptReason.BROKEN),
        Skipped(name="t.tar:b", sample=2, reason=CorruptReason.BROKEN),
    )


def test_a_ledger_of_the_first_release_is_read(run: RunDirectory) -> None:
    line = '{"step":0,"epoch":0,"loss":1.0,"samples":[1],"skipped":["t.tar:a"]}\n'
    add_attempt(run).ledger(0).write_text(line)
    (entry,) = entries(run.path)
    assert entry.line.skipped == (Skipped(name="t.tar:a"),)
    assert count_committed(run.path) == LedgerCounts(
        samples_presented=1, samples_skipped=1, skipped_by_reason={}, steps_redone=0
    )


def test_counting_holds_no_more_than_a_line(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    with Ledger(attempt.ledger(0)) as ledger:
        for step in range(1000):
            samples = range(128 * step, 128 * (step + 1))
            ledger.write(step=step, epoch=0, loss=1.0, samples=samples, corrupt=[])
    tracemalloc.start()
    counts = count_committed(run.path)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.samples_presented == 128_000
    # The numbers alone would be a megabyte and more.
    assert most_bytes < attempt.ledger(0).stat().st_size / 4


def test_a_ledger_is_forced_to_disk_whole(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, forced = add_attempt(run).ledger(0), []

    def sync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == file.stat().st_ino:
            forced.append(file.read_bytes())

    monkeypatch.setattr(os, "fsync", sync)
    with Ledger(file) as ledger:
        ledger.write(step=0, epoch=0, loss=1.0, samples=[1], corrupt=[])
        assert forced == []
        ledger.sync()
    assert forced == [file.read_bytes()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named(run: RunDirectory) -> None:
    file = add_attempt(run).ledger(0)
    file.symlink_to("/dev/full")
    with (
        pytest.raises(DiskFullError, match=r"ledger-0\.jsonl cannot be written"),
        Ledger(file) as it,
    ):
        it.write(step=0, epoch=0, loss=1.0, samples=[1], corrupt=[])
