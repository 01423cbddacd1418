"""What checkpoints cost that are written while training goes on, with the full-size network.

`python -m trainer` trains the preset `paper` at 224 pixels on made-up images, a torch thread for
each core, with a checkpoint after every INTERVAL steps: 61 million weights and their velocities,
490 MB. A checkpoint costs

- a standstill: ledgers are forced to disk, weights and velocities copied, and where the checkpoint
  before is not yet written, it is waited for. As the trainer's own stopwatch tells it; the mean;
- slower steps beside the writer, which checks, writes and digests on cores and through memory that
  training uses too. Seen from outside, by how the ledger grows: what the steps from a checkpoint's
  until its folder stands under its name take longer than as many median steps that nothing
  disturbs. Each INTERVAL has both kinds, so that they come from the same minutes; the median.

The fraction is the sum of both, of the time of 50 undisturbed steps. On a shared machine, steps of
seconds differ by more than a writer takes of them, and a median below nothing counts as nothing: so
a bound is told too, as if training stood still for all the time that a checkpoint is in work.

Two cores are slow at this network. Where steps are faster the same seconds are a larger share:
`checkpoint_step_s_within_target` is the step at which they would be 2 %. GPUs are not measured.

Memory is of the trainer and its loaders, each page counted once, without files that they map: the
most that was seen before the first checkpoint began, and at any time after. What is freed after a
checkpoint is kept for the next one.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.product import draw_images, run
from tests.bench.data.memory import family, memory_of
from tests.bench.figures import Figure
from tests.bench.service.part import Part, Say
from trainer.contract.events import AttemptEvent, Progress
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

ROUNDS = 4
BATCH_SIZE = 128
STORED_SIZE = 256
INTERVAL = 4
# At which the fraction is held to its target.
STEPS_BETWEEN = 50
MAX_FRACTION = 0.02
_POLL_S = 0.02
_LOOK_AT_MEMORY_S = 0.1
_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Seen:
    """A run, as seen from outside."""

    entered: tuple[float, ...]
    """When step 1, 2, ... was found in the ledger, in seconds."""
    saved: dict[int, float]
    """When the checkpoint after so many steps was found complete."""
    memory: tuple[tuple[float, int], ...]
    """(When, bytes)."""


@dataclass(frozen=True)
class Costs:
    """What checkpoints cost; but for the last one, which no steps follow."""

    step_s: float
    """The median of the steps that nothing disturbs."""
    slowed_s: tuple[float, ...]
    """By each checkpoint; its standstill is in it."""
    in_work_s: tuple[float, ...]
    """By each checkpoint, from the end of its step until it is complete."""
    peak_without: int
    """Bytes, before the first checkpoint."""
    peak_with: int
    """Bytes, from there on."""

    def share(self, seconds: float) -> float:
        """Return what seconds are of STEPS_BETWEEN steps that nothing disturbs."""
        return seconds / (STEPS_BETWEEN * self.step_s)


def measure(folder: Path, say: Say, *, rounds: int | None) -> Part:
    """Train so many intervals after a checkpoint each; `rounds` None: as it comes."""
    num_steps = INTERVAL * ((rounds or ROUNDS) + 1)
    job, run_dir, log = folder / "job.json", folder / "run", folder / "trainer.log"
    job.write_text(json.dumps(_request(folder, num_steps)))
    attempt = RunDirectory(run_dir).attempt(1)
    command = [sys.executable, "-m", "trainer", "--spec", str(job), "--run-dir", str(run_dir)]
    say(f"{num_steps} steps, a checkpoint after each {INTERVAL}")
    with log.open("wb") as out:
        trainer = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        seen = _watch(trainer, attempt, num_steps)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{log.read_text()[-3000:]}") from error
    finally:
        # A loader ends when its trainer is gone.
        trainer.kill()
        trainer.wait()
    costs = costs_of(seen)
    stall_s = stall_of(attempt.events.read_text().splitlines())
    measured = {"stall_s": stall_s, **asdict(costs), "entered": seen.entered}
    return Part(figures=figures(costs, stall_s), measured=measured)


def figures(costs: Costs, stall_s: float) -> list[Figure]:
    """Return what is lost at 50 steps between checkpoints, and what memory it takes."""
    lost_s = max(stall_s, statistics.median(costs.slowed_s))
    bound = costs.share(statistics.median(costs.in_work_s))
    return [
        Figure("checkpoint_stall_fraction", costs.share(lost_s), MAX_FRACTION, at_most=True),
        Figure("checkpoint_stall_fraction_bound", bound, None),
        Figure("checkpoint_standstill_s", stall_s, None),
        Figure("checkpoint_lost_s", lost_s, None),
        Figure("checkpoint_lost_least_s", min(costs.slowed_s), None),
        Figure("checkpoint_lost_most_s", max(costs.slowed_s), None),
        Figure("checkpoint_step_s", costs.step_s, None),
        Figure("checkpoint_step_s_within_target", lost_s / MAX_FRACTION / STEPS_BETWEEN, None),
        Figure("checkpoint_peak_mb", costs.peak_with / 1e6, None),
        Figure("checkpoint_peak_mb_without", costs.peak_without / 1e6, None),
    ]


def costs_of(seen: Seen) -> Costs:
    """Return what the checkpoints of a run cost."""
    began = dict(enumerate(seen.entered, start=2))
    # The first step of all has no beginning here: before it lies the start.
    steps_s = {number: ended - began[number] for number, ended in _numbered(seen.entered)[1:]}
    beside = {
        step: [number for number in steps_s if number > step and began[number] < saved]
        for step, saved in sorted(seen.saved.items())
        if step < len(seen.entered)
    }
    disturbed = {number for numbers in beside.values() for number in numbers}
    step_s = statistics.median(
        seconds for number, seconds in steps_s.items() if number not in disturbed
    )
    first_checkpoint = seen.entered[min(beside) - 1]
    return Costs(
        step_s=step_s,
        slowed_s=tuple(
            sum(steps_s[number] - step_s for number in numbers) for numbers in beside.values()
        ),
        in_work_s=tuple(seen.saved[step] - seen.entered[step - 1] for step in beside),
        peak_without=max(size for at, size in seen.memory if at <= first_checkpoint),
        peak_with=max(size for at, size in seen.memory if at > first_checkpoint),
    )


def stall_of(lines: list[str]) -> float:
    """Return the mean seconds that training stood still for a checkpoint.

    `lines` are those of an attempt's events, each of which tells of the steps since the one before.
    """
    total_s, told = 0.0, 0
    for event in map(AttemptEvent.model_validate_json, lines):
        if isinstance(event.data, Progress):
            num_steps, told = event.data.step - told, event.data.step
            total_s += num_steps * event.data.phase_seconds.get("checkpoint", 0.0)
    # The checkpoint after a step is in the time of the next.
    return total_s / ((told - 1) // INTERVAL)


def _numbered(entered: tuple[float, ...]) -> list[tuple[int, float]]:
    return list(enumerate(entered, start=1))


def _request(folder: Path, num_steps: int) -> dict[str, Any]:
    """Pack as many images as are trained: a few, each again and again."""
    drawn = draw_images(folder / "images", num_images=BATCH_SIZE, seed=0, size=STORED_SIZE)
    for image in list(drawn.rglob("*.jpg")):
        for number in range(1, num_steps):
            image.with_stem(f"{image.stem}-{number}").hardlink_to(image)
    validation = draw_images(folder / "few", num_images=10, seed=1, size=STORED_SIZE)
    data = {}
    for split, images in (("train", drawn), ("validation", validation)):
        out = folder / split
        run("data_shards", "pack", images, out, "--split", split, "--size", STORED_SIZE)
        data[split] = str(out / "manifest.json")
    return {
        "preset": "paper",
        "name": "bench",
        "data": data,
        "optim": {"global_batch_size": BATCH_SIZE, "max_steps": num_steps, "epochs": 1},
        "scale": {"cpus_per_replica": len(os.sched_getaffinity(0))},
        "checkpoint": {"interval_steps": INTERVAL, "keep_last": 1, "keep_best": False},
    }


def _watch(trainer: subprocess.Popen[bytes], attempt: AttemptDirectory, num_steps: int) -> Seen:
    """Look at ledger, checkpoints and memory until the last step is entered."""
    entered: list[float] = []
    saved: dict[int, float] = {}
    memory: list[tuple[float, int]] = []
    began = time.monotonic()
    ledger = attempt.ledger(0)
    while len(entered) < num_steps:
        now = time.monotonic()
        if trainer.poll() is not None:
            raise RuntimeError(f"the trainer ended after {len(entered)} steps")
        if now - began > _TIMEOUT_S:
            raise RuntimeError(f"{len(entered)} steps in {_TIMEOUT_S:.0f} s are too few")
        if ledger.exists():
            num_lines = ledger.read_bytes().count(b"\n")
            entered += [now] * (num_lines - len(entered))
        for step in attempt.committed():
            saved.setdefault(step, now)
        if not memory or now - memory[-1][0] >= _LOOK_AT_MEMORY_S:
            memory.append((now, memory_of(family(trainer.pid)).own))
        time.sleep(_POLL_S)
    return Seen(tuple(entered), saved, tuple(memory))
