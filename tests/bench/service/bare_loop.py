"""How fast a job trains through the service, beside the bare loop: images a second.

Both train the preset `small` on the same shards, with the loaders, checkpoints, evaluations and
reports that belong to it, and with as many torch threads as each other: as many as a job has that
asks for none (one), and, beside the targets, as many as there are cores, where whatever else takes
a core's time is felt twice, since the other thread waits.

- bare: `python -m trainer --spec`, one process without Ray Train, beside a Ray that idles;
- served: `POST /jobs` to a service that runs its jobs in that same Ray, with all that the service,
  Ray Train and Ray itself do for it on the two cores.

They take turns of some seconds. Whoever has not its turn is frozen: of the served side the service
and whatever Ray has started for the job, so that beside the bare loop there is an idle Ray alone.
Machines that are shared change within minutes; turns that follow each other meet the same one.
Not seen by this: what Ray's daemons do for the job's frozen processes (they go on listing them),
which is charged to both; and starts and ends, which are not training.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.acceptance.product import ControlPlane
from tests.bench.figures import Figure
from tests.bench.service.frozen import Frozen, family
from tests.bench.service.lone_ray import LoneRay, lone_ray
from tests.bench.service.part import Part, Say
from tests.bench.service.small_set import small_set
from tests.waiting import wait_for
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import ScaleSpec

ROUNDS = 32
# Those of a job that asks for none, and all cores.
THREADS = tuple(dict.fromkeys((ScaleSpec().cpus_per_replica, len(os.sched_getaffinity(0)))))
BATCH_SIZE = 64
# A multiple of it, so that every step has as many images.
NUM_IMAGES = 62 * BATCH_SIZE
# Ray has started all its processes and torch has its memory.
WARM_UP_STEPS = 200
# Caches are filled again; then what is measured. Together less than the service's lease (5 s),
# which it could not renew while it is frozen.
LEAD_S, TURN_S = 0.2, 1.9
_POLL_S = 0.004
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Round:
    """Images a second, measured one after the other."""

    bare: float
    served: float

    @property
    def ratio(self) -> float:
        """Served to bare."""
        return self.served / self.bare


@dataclass(frozen=True)
class Side:
    """One of the two that take turns."""

    attempt: AttemptDirectory
    processes: Frozen

    def turn(self) -> float:
        """Let it run alone, and return the images that it trains a second."""
        with self.processes.thawed():
            time.sleep(LEAD_S)
            return BATCH_SIZE * steps_a_second(self.attempt.ledger(0), TURN_S)


def measure(folder: Path, say: Say, *, rounds: int | None) -> Part:
    """Give each side a turn a round, in alternating order; `rounds` None: as it comes."""
    # Without end: they are ended.
    request = small_set(folder, num_images=NUM_IMAGES) | {
        "optim": {"global_batch_size": BATCH_SIZE, "epochs": 10_000}
    }
    found = {}
    with lone_ray(folder / "ray") as ray:
        for num_threads in THREADS:
            some = request | {"scale": {"cpus_per_replica": num_threads}}
            found[num_threads] = _rounds(folder, some, ray, say, rounds or ROUNDS)
    return Part(
        figures=[each for num, some in found.items() for each in figures(some, num_threads=num)],
        measured={str(num): [asdict(one) for one in some] for num, some in found.items()},
    )


def figures(found: list[Round], *, num_threads: int) -> list[Figure]:
    """Return medians over rounds; of the ratio, and half of them lie between its quartiles."""
    ratios = [one.ratio for one in found]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    is_default = num_threads == THREADS[0]
    suffix = "" if is_default else f"_{num_threads}_threads"
    beside = {
        "service_to_bare_low_quartile": low,
        "service_to_bare_high_quartile": high,
        "bare_images_per_second": statistics.median(one.bare for one in found),
        "served_images_per_second": statistics.median(one.served for one in found),
    }
    aim = 0.98 if is_default else None
    return [
        Figure(f"service_to_bare_ratio{suffix}", statistics.median(ratios), aim),
        *(Figure(f"{name}{suffix}", value, None) for name, value in beside.items()),
    ]


def _rounds(
    folder: Path, request: dict[str, Any], ray: LoneRay, say: Say, rounds: int
) -> list[Round]:
    threads = f"{request['scale']['cpus_per_replica']}-threads"
    found = []
    with (
        _served(folder / f"served-{threads}", request, ray) as served,
        _bare(folder / f"bare-{threads}", request) as bare,
    ):
        for number in range(rounds):
            rates = {}
            for side in (bare, served) if number % 2 == 0 else (served, bare):
                rates[side] = side.turn()
            one = Round(bare=rates[bare], served=rates[served])
            found.append(one)
            say(f"{threads}: bare {one.bare:,.0f}, served {one.served:,.0f}: {one.ratio:.3f}")
    return found


def steps_a_second(ledger: Path, seconds: float) -> float:
    """Watch a ledger grow for so long; return lines a second between its first and last growth."""
    with ledger.open("rb") as file:
        file.seek(0, os.SEEK_END)
        growths = []
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            if num_lines := file.read().count(b"\n"):
                growths.append((now, num_lines))
            time.sleep(_POLL_S)
    return rate_of(growths)


def rate_of(growths: list[tuple[float, int]]) -> float:
    """Return lines a second, of times at which lines were found and how many.

    Those of the first growth were made before it was seen, and so before the clock starts.
    """
    if len(growths) < 2:
        raise RuntimeError(f"steps were seen {len(growths)} times in a turn: too few for a rate")
    (began, _), *others = growths
    return sum(num_lines for _, num_lines in others) / (others[-1][0] - began)


@contextmanager
def _bare(run: Path, request: dict[str, Any]) -> Iterator[Side]:
    """Begin the bare loop and freeze it when it has warmed up; end it."""
    job = run.with_suffix(".json")
    job.write_text(json.dumps(request))
    command = [sys.executable, "-m", "trainer", "--spec", str(job), "--run-dir", str(run)]
    with run.with_suffix(".log").open("wb") as log:
        loop = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    side = Side(RunDirectory(run).attempt(1), Frozen(lambda: family(loop.pid)))
    try:
        _warm_up(side)
        yield side
    finally:
        side.processes.thaw()
        loop.kill()
        loop.wait()


@contextmanager
def _served(folder: Path, request: dict[str, Any], ray: LoneRay) -> Iterator[Side]:
    """Begin a service and its job, and freeze both when the job has warmed up; end them."""
    idle = {process.pid for process in ray.processes}
    service = ControlPlane(
        folder,
        folder.parent,
        ALEXNET_RAY_ADDRESS=ray.url,
        ALEXNET_WORKER_PYTHON=sys.executable,
        RAY_AUTH_TOKEN=ray.token,
    )

    def processes() -> Iterator[psutil.Process]:
        yield from family(service.process.pid)
        yield from (one for one in ray.processes if one.pid not in idle)

    frozen = Frozen(processes)
    try:
        service.start()
        job_id = service.submit(**request)
        side = Side(RunDirectory(service.run_directory(job_id)).attempt(1), frozen)
        _warm_up(side)
        yield side
        frozen.thaw()
        service.http.post(f"/jobs/{job_id}/cancel").raise_for_status()
        service.wait_status(job_id, "CANCELLED")
    finally:
        frozen.thaw()
        service.stop()


def _warm_up(side: Side) -> None:
    ledger = side.attempt.ledger(0)

    def is_warm() -> bool:
        return ledger.exists() and ledger.read_bytes().count(b"\n") > WARM_UP_STEPS

    wait_for("the steps to warm up", is_warm, timeout_s=_TIMEOUT_S, every_s=0.2)
    side.processes.freeze()
