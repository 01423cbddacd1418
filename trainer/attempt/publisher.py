"""Sets a gauge for each of a replica's series, now and then, from a thread of its own.

Gauges alone: docs/decisions/0021 says why.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from trainer.attempt.replica_metrics import ReplicaMetrics

_log = logging.getLogger(__name__)

# Below the second for which Ray reports at the least would be for nothing; it drops a gauge that
# nobody sets for two of its intervals, of 10 s by default.
PERIOD_S = 2.0
# It only writes to memory.
_LAST_TIMEOUT_S = 5.0


class Gauge(Protocol):
    """Takes the numbers of all series of a name."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Set the one with these labels."""
        ...


class MakeGauge(Protocol):
    """Makes one."""

    def __call__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Gauge:
        """Return the gauge of a name and its labels' keys."""
        ...


@contextmanager
def publishing(
    metrics: ReplicaMetrics, make_gauge: MakeGauge, *, period_s: float = PERIOD_S
) -> Iterator[None]:
    """Set the gauges every `period_s` while the block runs, and once more at its end."""
    closing = threading.Event()
    publisher = _Publisher(metrics, make_gauge)
    thread = threading.Thread(
        target=publisher.run, args=(closing, period_s), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join(_LAST_TIMEOUT_S)


class _Publisher:
    def __init__(self, metrics: ReplicaMetrics, make_gauge: MakeGauge) -> None:
        self._metrics = metrics
        self._make_gauge = make_gauge
        self._gauges: Mapping[str, Gauge] = {}
        self._fails = False

    def run(self, closing: threading.Event, period_s: float) -> None:
        """Publish until that is over."""
        is_over = False
        while not is_over:
            is_over = closing.wait(period_s)
            self._try()

    def _try(self) -> None:
        try:
            self._publish()
        # Training goes on, whatever it is.
        except Exception as error:  # noqa: BLE001
            if not self._fails:
                _log.warning("the replica's metrics cannot be published: %s", error)
            self._fails = True
        else:
            self._fails = False

    def _publish(self) -> None:
        current = self._metrics.series
        self._gauges = self._gauges or {
            series.name: self._make_gauge(series.name, series.description, tuple(series.labels))
            for series in current
        }
        for series in current:
            self._gauges[series.name].set(series.value, dict(series.labels))
