"""How long a job takes to its first step: through the service, and started by hand.

Of three ways, each on a Ray of its own that has just come to rest, in alternating order:

- by hand: the order of an attempt is written, and `python -m trainer attempt` submitted as
  `ray job submit` does, to a Ray that was started like the service's own, without a service;
- cold: `POST /jobs` to a service that keeps no warm processes, its first job;
- warm: `POST /jobs` to a service as it comes, its second job.

From just before the order is written, or the request sent, until the ledger of the attempt holds
its first step, by one clock. What the starts of Ray and of the service take is not in it; nor what
importing Ray's client takes whoever submits by hand. That Ray begins no workers ahead of time, as
the service sets it, shortens all three.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.table import Table

from tests.acceptance.product import ControlPlane
from tests.bench.figures import Figure
from tests.bench.service.lone_ray import lone_ray, wait_until_idle, write_attempt
from tests.bench.service.part import Part, Say
from tests.bench.service.small_set import small_set
from tests.waiting import wait_for
from trainer.contract.presets import expand_preset
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec

ROUNDS = 3
NUM_IMAGES = 1000
_TIMEOUT_S = 180.0
_POLL_S = 0.005

Way = Literal["by hand", "cold", "warm"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds since the submission."""

    driver_s: float
    """The driver prints into the attempt's log: it has imported Ray and torch."""
    replica_s: float
    """The replica opens its events: Ray Train has started it, and it has imported the same."""
    step_s: float
    """The first step is done, and entered in the ledger."""

    @property
    def parts(self) -> tuple[float, float, float]:
        """Until the driver, from there to the replica, and from there to the step."""
        return self.driver_s, self.replica_s - self.driver_s, self.step_s - self.replica_s


Found = dict[Way, list[Times]]


def measure(folder: Path, say: Say, *, rounds: int | None) -> Part:
    """Take each way once a round, forwards and backwards in turn; `rounds` None: as it comes."""
    request = small_set(folder, num_images=NUM_IMAGES) | {"optim": {"max_steps": 3}}
    found: Found = {way: [] for way in WAYS}
    for number in range(rounds or ROUNDS):
        for way in order_of(number):
            times = _MEASURE[way](folder / f"{way.replace(' ', '-')}-{number}", request)
            say(f"{way}: {times.step_s:.2f} s")
            found[way].append(times)
    return Part(
        figures=figures(found),
        measured={way: [asdict(one) for one in times] for way, times in found.items()},
        tables=[_table(found)],
    )


def order_of(number: int) -> tuple[Way, ...]:
    """Return the ways in the order of a round."""
    return WAYS if number % 2 == 0 else WAYS[::-1]


def figures(found: Found) -> list[Figure]:
    """Return medians over rounds, and what they are of those by hand."""
    by_hand, cold, warm = (statistics.median(seconds_of(found, way)) for way in WAYS)
    return [
        Figure("first_step_ratio_cold", cold / by_hand, 1.15, at_most=True),
        Figure("first_step_ratio_warm", warm / by_hand, 0.5, at_most=True),
        Figure("first_step_by_hand_s", by_hand, None),
        Figure("first_step_cold_s", cold, None),
        Figure("first_step_warm_s", warm, None),
    ]


def seconds_of(found: Found, way: Way) -> list[float]:
    """Return the seconds to the first step, by round."""
    return [times.step_s for times in found[way]]


def ratios_of(found: Found, way: Way) -> list[float]:
    """Return what a way's time is of that by hand, by round."""
    pairs = zip(seconds_of(found, way), seconds_of(found, "by hand"), strict=True)
    return [seconds / by_hand for seconds, by_hand in pairs]


def _table(found: Found) -> Table:
    """Return a row a way: the medians of its parts, and the ratios of single rounds."""
    table = Table(title="To the first step, s (medians)", title_justify="left")
    table.add_column("")
    for column in ("driver", "replica", "step", "together", "beside by hand, by round"):
        table.add_column(column, justify="right")
    for way, times in found.items():
        parts = zip(*(one.parts for one in times), strict=True)
        medians = [statistics.median(part) for part in parts]
        medians.append(statistics.median(seconds_of(found, way)))
        ratios = ", ".join(f"{ratio:.2f}" for ratio in ratios_of(found, way))
        table.add_row(way, *(f"{seconds:.2f}" for seconds in medians), ratios)
    return table


def _by_hand(folder: Path, request: dict[str, Any]) -> Times:
    spec = JobSpec.model_validate(expand_preset(request))
    with lone_ray(folder) as ray:

        def start() -> AttemptDirectory:
            attempt = write_attempt(folder / "run", spec)
            ray.submit(attempt)
            return attempt

        attempt, times = _timed(start)
        ray.wait_ended(attempt)
    return times


def _cold(folder: Path, request: dict[str, Any]) -> Times:
    return _served(folder, request, warm=False, num_jobs=1)


def _warm(folder: Path, request: dict[str, Any]) -> Times:
    return _served(folder, request, warm=True, num_jobs=2)


def _served(folder: Path, request: dict[str, Any], *, warm: bool, num_jobs: int) -> Times:
    """Return the times of the last of so many jobs, one after another."""
    service = ControlPlane(folder, folder.parent, ALEXNET_LOCAL_RAY_WARM=str(warm))
    try:
        service.start()
        for _ in range(num_jobs):
            wait_until_idle(folder)

            def start() -> AttemptDirectory:
                job_id = service.submit(**request)
                return RunDirectory(service.run_directory(job_id)).attempt(1)

            attempt, times = _timed(start)
            service.wait_status(attempt.run.name, "SUCCEEDED")
    finally:
        service.stop()
    return times


_MEASURE: dict[Way, Callable[[Path, dict[str, Any]], Times]] = {
    "by hand": _by_hand,
    "cold": _cold,
    "warm": _warm,
}


def _timed(start: Callable[[], AttemptDirectory]) -> tuple[AttemptDirectory, Times]:
    began = time.monotonic()
    attempt = start()

    def seconds_until(what: str, probe: Callable[[], bool]) -> float:
        wait_for(what, probe, timeout_s=_TIMEOUT_S, every_s=_POLL_S)
        return time.monotonic() - began

    ledger = attempt.ledger(0)
    return attempt, Times(
        driver_s=seconds_until("the driver", attempt.log.exists),
        replica_s=seconds_until("the replica", attempt.events.exists),
        step_s=seconds_until("a step", lambda: ledger.exists() and ledger.stat().st_size > 0),
    )
