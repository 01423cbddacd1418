"""Figures as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from service.ui import formats

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-1, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3660, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_told_by_their_greatest_units(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (0, "0"), (12_345, "12,345"), (99.94, "99.9"), (1234.5, "1,234")],
)
def test_counts_have_commas_and_small_rates_a_decimal(number: float | None, text: str) -> None:
    assert formats.count(number) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "–"), (999, "999 B"), (1500, "1.5 kB"), (488_000_000, "488 MB"), (2e12, "2.0 TB")],
)
def test_sizes_are_told_by_their_greatest_unit(size_bytes: float | None, text: str) -> None:
    assert formats.size(size_bytes) == text


def test_ratios_are_percents_and_losses_have_three_digits() -> None:
    assert (formats.percent(0.6134), formats.percent(None)) == ("61.3 %", "–")
    assert (formats.decimal(6.90755), formats.decimal(None)) == ("6.91", "–")


def test_moments_are_told_in_utc_and_as_ages() -> None:
    assert formats.moment(NOW) == "2026-01-02 03:04:05 UTC"
    assert formats.moment(None) == "–"
    assert formats.iso(NOW) == "2026-01-02T03:04:05+00:00"
    assert formats.age(NOW - timedelta(minutes=5), NOW) == "5 min"
