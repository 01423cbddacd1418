"""A violation fails its trial, and a guard whose absence nobody notices does too."""

import pytest

from tests.faults.report import DEMANDED, rows, untried
from tests.faults.trials import TRIALS_VARIABLE, Trials, seeds


def test_a_violation_fails_the_trial_and_is_counted() -> None:
    faults = Trials()
    with (
        pytest.raises(AssertionError, match="F: it was heard"),
        faults.trial("13", "an event comes late", seed=1) as trial,
    ):
        trial.must(False, "F", "it was heard")
    with faults.trial("13", "an event comes late", seed=2) as trial:
        trial.must(True, "F", "it was heard")
    (row,) = rows(faults.all)
    assert (row.trials, row.violations, row.noticed) == (2, 1, "")


def test_what_ends_with_an_error_was_not_seen_through() -> None:
    faults = Trials()
    with (
        pytest.raises(TimeoutError),
        faults.trial("5", "a worker dies"),
    ):
        raise TimeoutError("it never came back")
    assert rows(faults.all)[0].violations == 1


def test_a_guard_is_to_be_missed_when_it_is_off() -> None:
    faults = Trials()
    with faults.unguarded("4", "a frozen one thaws") as trial:
        trial.must(False, "J", "it has written")
    with (
        pytest.raises(AssertionError, match="no violation was noticed"),
        faults.unguarded("4", "a frozen one thaws"),
    ):
        pass
    (row,) = rows(faults.all)
    assert (row.trials, row.violations, row.noticed) == (0, 0, "1 of 2")


def test_an_error_of_an_unguarded_trial_stays_an_error() -> None:
    with (
        pytest.raises(TimeoutError),
        Trials().unguarded("4", "a frozen one thaws"),
    ):
        raise TimeoutError


def test_times_count_from_the_strike() -> None:
    faults = Trials()
    with faults.trial("5", "a worker dies") as trial:
        with pytest.raises(AssertionError, match="strike first"):
            trial.detected()
        trial.strike()
        trial.detected()
        trial.recovered()
        trial.steps_redone = 3
    (row,) = rows(faults.all)
    assert row.detect_p50_s is not None
    assert row.recover_max_s is not None
    assert 0 <= row.detect_p50_s <= row.recover_max_s
    assert row.steps_redone == 3


def test_what_one_process_has_seen_another_counts_once() -> None:
    worker, reporter = Trials(), Trials()
    with worker.trial("5", "a worker dies", seed=1) as trial:
        trial.strike()
        trial.recovered()
    reporter.take(worker.give())
    with worker.unguarded("5", "a worker dies") as trial:
        trial.must(False, "J", "it has written")
    reporter.take(worker.give())
    reporter.take(worker.give())
    assert reporter.all == worker.all


def test_rows_come_in_the_order_of_the_table_and_attacks_last() -> None:
    faults = Trials()
    for row in ("attack", "13", "5", "21"):
        with faults.trial(row, "any"):
            pass
    assert [row.row for row in rows(faults.all)] == ["5", "13", "21", "attack"]


def test_a_short_run_begins_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRIALS_VARIABLE, raising=False)
    short = seeds("5", short=2)
    monkeypatch.setenv(TRIALS_VARIABLE, "20")
    assert seeds("5")[:2] == short
    assert len(set(seeds("5"))) == 20
    assert seeds("6")[:2] != short


def test_a_row_that_is_demanded_and_was_not_tried_is_named() -> None:
    faults = Trials()
    for row in DEMANDED:
        if row not in ("14", "attack"):
            with faults.trial(row, "it happens"):
                pass
    with faults.unguarded("14", "without its guard alone") as trial:
        trial.must(False, "J", "it has written")
    assert untried(rows(faults.all)) == ["14", "attack"]
