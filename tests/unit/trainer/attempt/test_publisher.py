import threading
from itertools import count

import pytest

from tests.waiting import wait_for
from trainer.attempt.publisher import publishing
from trainer.attempt.replica_metrics import ReplicaMetrics

Key = tuple[str, tuple[tuple[str, str], ...]]
STEPS = ("alexnet_train_step_seconds_count", (("job_id", "j1"), ("replica", "0")))


class Exporter:
    """Gauges as Ray has them: each is of one name, and asks for the tags that it was made with."""

    def __init__(self, *, fails: int = 0) -> None:
        self.values: dict[Key, float] = {}
        self.num_sets = 0
        self.fails = fails

    def gauge(self, name: str, description: str, tag_keys: tuple[str, ...]) -> "_Gauge":
        assert description
        return _Gauge(self, name, tag_keys)


class _Gauge:
    def __init__(self, exporter: Exporter, name: str, tag_keys: tuple[str, ...]) -> None:
        self._exporter, self._name, self._tag_keys = exporter, name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        if self._exporter.fails:
            self._exporter.fails -= 1
            raise RuntimeError("no exporter")
        assert tuple(tags) == self._tag_keys
        self._exporter.values[self._name, tuple(tags.items())] = value
        self._exporter.num_sets += 1


def test_every_series_is_set_again_and_again_and_once_more_at_the_end() -> None:
    exporter, metrics = Exporter(), ReplicaMetrics("j1", 0)
    with publishing(metrics, exporter.gauge, period_s=0.001):
        num_series = len(metrics.series)
        wait_for("two rounds", lambda: exporter.num_sets > 2 * num_series, timeout_s=60)
        metrics.note_step(0.1)
        wait_for("the step", lambda: exporter.values[STEPS] == 1, timeout_s=60)
    assert len(exporter.values) == num_series
    before = exporter.num_sets
    with publishing(metrics, exporter.gauge, period_s=3600):
        metrics.note_step(0.1)
    assert exporter.values[STEPS] == 2
    assert exporter.num_sets == before + num_series
    assert "metrics" not in {thread.name for thread in threading.enumerate()}


def test_what_a_replica_waits_for_is_published_while_it_waits() -> None:
    exporter, metrics = Exporter(), ReplicaMetrics("j1", 0)
    waits = count(1)
    metrics.follow(lambda: {"data_wait": float(next(waits))})
    waited = (
        "alexnet_train_phase_seconds_total",
        (*(("job_id", "j1"), ("replica", "0"), ("phase", "data_wait")),),
    )
    with publishing(metrics, exporter.gauge, period_s=0.001):
        wait_for("it to grow", lambda: exporter.values.get(waited, 0) > 3, timeout_s=60)


def test_nothing_of_it_reaches_training_and_what_fails_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter, metrics = Exporter(fails=3), ReplicaMetrics("j1", 0)
    with publishing(metrics, exporter.gauge, period_s=0.001):
        wait_for("the series", lambda: STEPS in exporter.values, timeout_s=60)
    assert [record.getMessage() for record in caplog.records] == [
        "the replica's metrics cannot be published: no exporter"
    ]
