from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import add_attempt, add_checkpoint, add_steps
from trainer.contract.run_directory import RunDirectory
from trainer.ledger import Ledger, committed_ledger


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_one_attempt_alone(run: RunDirectory) -> None:
    add_steps(add_attempt(run), range(12))
    ledger = committed_ledger(run.path)
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
    ledger = committed_ledger(run.path)
    expected = Counter(sample for step in range(10) for sample in (10 * step, 10 * step + 5))
    assert Counter(ledger.epochs[0]) == expected
    assert (ledger.steps_done, ledger.steps_redone) == (10, 8 + 3 + 6 - 10)


def test_an_attempt_that_began_anew_disowns_all_before_it(run: RunDirectory) -> None:
    add_steps(add_attempt(run), range(6))
    add_steps(add_attempt(run), range(3))
    ledger = committed_ledger(run.path)
    assert (ledger.steps_done, ledger.steps_redone) == (3, 6)


def test_replicas_are_put_together_by_step_then_rank(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    for rank in (1, 0, 2):
        add_steps(attempt, range(2), rank=rank)
    ledger = committed_ledger(run.path)
    assert ledger.epochs[0] == [0, 5, 1, 6, 2, 7, 10, 15, 11, 16, 12, 17]
    assert (ledger.steps_done, ledger.steps_redone) == (2, 0)


def test_a_line_cut_short_was_not_done(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    add_steps(attempt, range(3))
    with attempt.ledger(0).open("a") as file:
        file.write('{"step":3,"epoch":0,"lo')
    assert committed_ledger(run.path).steps_done == 3


def test_an_attempt_that_died_before_its_first_step_changes_nothing(run: RunDirectory) -> None:
    first = add_attempt(run)
    add_steps(first, range(6))
    add_attempt(run, resume_from=add_checkpoint(first, 6))
    assert committed_ledger(run.path).steps_done == 6


def test_skipped_samples_are_named_whatever_their_name(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    # A line separator in a key is no end of a line.
    names = ["train-0.tar:a\u2028b", "train-0.tar:é"]
    with Ledger(attempt.ledger(0)) as ledger:
        ledger.write(step=0, epoch=0, loss=1.5, samples=[1, 2], skipped=names)
        ledger.write(step=1, epoch=0, loss=1.5, samples=[3], skipped=[])
    committed = committed_ledger(run.path)
    assert committed.skipped == {0: names}
    assert committed.epochs == {0: [1, 2, 3]}


def test_a_run_that_never_began_has_an_empty_ledger(run: RunDirectory) -> None:
    ledger = committed_ledger(run.path)
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
    ledger = committed_ledger(run.path)
    expected = Counter(sample for step in range(10) for sample in (10 * step, 10 * step + 5))
    assert all(Counter(ledger.epochs[epoch]) == expected for epoch in range(3))
    assert (ledger.steps_done, ledger.steps_redone) == (30, trained - 30)
