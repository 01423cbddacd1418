"""Many kills over a few lanes of jobs on one control plane, and what must hold at the end."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.faults.kills.checks import check_end, check_job, shared_memory, sizes
from tests.faults.kills.lane import Lane
from tests.faults.kills.roles import Kill, planned
from tests.faults.kills.shared_service import SharedService
from tests.faults.kills.watch import RETRY, JobUnderFire
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial
from tests.integration.trainer.conftest import Shards, final_weights, pack_few

# Of jobs in turn. Three ranks sum in an order of their own, where two cannot differ.
REPLICAS = (1, 3, 1)
EPOCHS = 30
# Divides by the streams, and those by three replicas.
BATCH, STREAMS = 24, 6
KILLS_PER_JOB = range(5, 11)

NUM_CPUS = 4
SETTINGS = {
    "ALEXNET_LOCAL_RAY_CPUS": str(NUM_CPUS),
    "ALEXNET_SILENCE_TIMEOUT_S": "15",
    # Only what is urgent has a higher priority than others.
    "ALEXNET_PREEMPTION": "true",
}


class Campaign:
    """So many processes killed, at moments that a seed decides; `run` once."""

    def __init__(
        self,
        folder: Path,
        *,
        num_processes: int,
        seed: int,
        epochs: int = EPOCHS,
        say: Callable[[str], None] = print,
    ) -> None:
        """`folder`: of its own; `epochs`: of each job; `say` is told how it gets on."""
        self._say = say
        self._pending = deque(planned(num_processes, seed))
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._shm = shared_memory()
        shards = pack_few(folder)
        self._jobs = {
            number: jobs_in(folder, shards, replicas=number, epochs=epochs)
            for number in set(REPLICAS)
        }
        # It needs all that there is.
        self._urgent = jobs_in(folder, shards, epochs=1, cpus_per_replica=NUM_CPUS)
        self._service = SharedService(folder, folder, **SETTINGS)
        self.done: list[JobUnderFire] = []
        self.kills: list[Kill] = []
        self.end = Trial("5", "all of them together")
        """For what is wrong with no job alone."""
        self.seconds = 0.0

    @property
    def trials(self) -> list[Trial]:
        """All of them, that of the end last."""
        return [*itertools.chain.from_iterable(job.trials for job in self.done), self.end]

    def run(self, num_lanes: int) -> None:
        """Kill; with so many jobs at a time."""
        begun = time.monotonic()
        with self._service.running():
            self._learn_undisturbed()
            with ThreadPoolExecutor(num_lanes) as pool:
                for lane in [pool.submit(self._follow_lane) for _ in range(num_lanes)]:
                    lane.result()
            check_end(self._service, self.done, self.end, self._shm)
        self.seconds = time.monotonic() - begun

    def _learn_undisturbed(self) -> None:
        """Have each kind of job come to its weights, beside each other as far as there is room."""
        kinds = [*self._jobs.values(), self._urgent]
        names = [f"undisturbed-{number}" for number, _ in enumerate(kinds)]
        ids = [
            self._service.submit(kind.request(name=name, retry=RETRY), key=name)
            for kind, name in zip(kinds, names, strict=True)
        ]
        for kind, job_id in zip(kinds, ids, strict=True):
            self._service.wait_over(job_id)
            assert len(self._service.job(job_id)["attempts"]) == 1, "it was not undisturbed"
            kind.undisturbed = final_weights(self._service.run(job_id).path)

    def _follow_lane(self) -> None:
        lane = Lane(self._service, self._urgent, self._say)
        while self._pending:
            number = next(self._numbers)
            num_replicas = self._num_replicas(number)
            kind = self._jobs[num_replicas]
            job = JobUnderFire(
                self._service.submit(kind.request(name=f"job-{number}", retry=RETRY), f"{number}"),
                kind,
            )
            self._try(partial(self._strike, lane, num_replicas), job)
            for one in (job, *lane.urgent):
                self._try(self._look_at, one)
                self._say(f"{one.id}: {len(one.trials)} kills, {one.violations or 'all holds'}")
                self.done.append(one)
            lane.urgent.clear()

    def _try(self, part: Callable[[JobUnderFire], None], job: JobUnderFire) -> None:
        """Have what goes wrong fail the run, and no other job."""
        try:
            part(job)
        except AssertionError as error:
            trial = Trial("5", "a job is not seen through")
            trial.must(False, "J", str(error))
            job.trials.append(trial)

    def _num_replicas(self, number: int) -> int:
        """Return those of a job in turn, of which some kill that is left can be."""
        num_replicas = REPLICAS[number % len(REPLICAS)]
        with self._lock:
            suits = any(kill.suits(num_replicas) for kill in self._pending)
        return num_replicas if suits else max(REPLICAS)

    def _strike(self, lane: Lane, num_replicas: int, job: JobUnderFire) -> None:
        for kill in self._next_kills(num_replicas):
            if not lane.see_through(job, kill):
                self._put_back(kill)
                break

    def _look_at(self, job: JobUnderFire) -> None:
        try:
            self._service.wait_over(job.id)
            with self._service.turn():
                check_job(self._service, job)
        finally:
            job.sizes = sizes(self._service.run(job.id).path)

    def _next_kills(self, num_replicas: int) -> Iterator[Kill]:
        """Give those of one job: five to ten, as long as there are any that it can suffer."""
        with self._lock:
            num_kills = self._pending[0].draw().choice(KILLS_PER_JOB) if self._pending else 0
        for _ in range(num_kills):
            with self._lock:
                kill = next((one for one in self._pending if one.suits(num_replicas)), None)
                if kill is None:
                    return
                self._pending.remove(kill)
                self.kills.append(kill)
            yield kill

    def _put_back(self, kill: Kill) -> None:
        with self._lock:
            self.kills.remove(kill)
            self._pending.appendleft(kill)


def jobs_in(
    folder: Path,
    shards: Shards,
    *,
    replicas: int = 1,
    cpus_per_replica: int = 1,
    epochs: int,
) -> SmallJobs:
    """Return a job of 17 steps an epoch, with a checkpoint every 10."""
    locations = {"train": str(shards.train), "validation": str(shards.validation)}
    place = folder / f"{replicas}-replicas-{epochs}-epochs"
    place.mkdir()
    return SmallJobs(
        place,
        shards,
        epochs=epochs,
        data={**locations, "num_streams": STREAMS},
        optim={"global_batch_size": BATCH, "epochs": epochs},
        scale={"cpus_per_replica": cpus_per_replica, "replicas": replicas, "accelerator": "cpu"},
    )
