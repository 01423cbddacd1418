"""Does it learn? On CIFAR-10's photographs, on the processors at hand: an hour or two of two cores.

    python tests/bench/bench_learning.py [--cifar10 TAR] [--work FOLDER] [--only small|plateau]

small     The preset `small`, mirrored, for as many epochs as half an hour of two cores allows: its
          test error by epoch.
plateau   The full-size network, batch 128, ε .01, as section 5 begins and as the 2012 source does
          (std .01 in every layer, or .03 in conv3 to conv5), over three seeds: when does the loss
          leave ln 10, where it knows nothing?

Runs lie in the work folder, and those that are complete are not run again. Charts go to docs/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from trainer.contract.run_directory import RunDirectory

REPOSITORY = Path(__file__).parents[2]
SEEDS = (0, 1, 2)
INITS = {"paper": "std .01 everywhere (paper)", "source2012": "std .03 in conv3-5 (2012 source)"}
COLOURS = {"paper": "tab:red", "source2012": "tab:blue"}
STEPS = 300
# Mean of so many steps' losses; below the limit the plateau at ln 10 = 2.303 is left.
WINDOW, LIMIT = 20, 2.2
EPOCHS, DROPS = 50, (35, 44)


def main() -> None:
    """Pack, train what is not trained yet, and draw."""
    arguments = parse()
    if not arguments.cifar10.exists():
        sys.exit(f"{arguments.cifar10} does not exist; name CIFAR-10's tar with --cifar10")
    images = unpack(arguments.cifar10, arguments.work)
    if arguments.only != "plateau":
        data = packed(images, arguments.work / "small", size=72, validation=10_000)
        draw_small(train(arguments.work, "small", small_spec(data)))
    if arguments.only != "small":
        data = packed(images, arguments.work / "full", size=256, validation=1_000)
        losses = {
            init: [
                train(arguments.work, f"{init}-{seed}", plateau_spec(data, init, seed))
                for seed in SEEDS
            ]
            for init in INITS
        }
        draw_plateau(losses)


def parse() -> argparse.Namespace:
    """Read the options."""
    default = REPOSITORY.parent / "shared" / "data" / "cifar10.tar.gz"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path, default=default)
    parser.add_argument("--work", type=Path, default=Path("build/learning"))
    parser.add_argument("--only", choices=["small", "plateau"])
    return parser.parse_args()


def unpack(archive: Path, work: Path) -> Path:
    """Return the folder with a folder for each split and class."""
    folder = work / "cifar10"
    if not folder.exists():
        work.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(work, filter="data")
    return folder


def packed(images: Path, out: Path, *, size: int, validation: int) -> dict[str, str]:
    """Pack both splits, if they are not, and return a spec's data."""
    for split, source, limit in (("train", "train", 50_000), ("validation", "test", validation)):
        command = ["-m", "data_shards", "pack", images / source, out / split, "--split", split]
        run(*command, "--size", size, "--limit", limit)
    return {split: str((out / split).absolute()) for split in ("train", "validation")}


def small_spec(data: dict[str, str]) -> dict[str, Any]:
    """Return the preset, for photographs: mirrored, and as long as the time allows."""
    return {
        "name": "small",
        "preset": "small",
        "data": data,
        "augment": {"mirror": True},
        "optim": {"epochs": EPOCHS, "schedule": {"kind": "steps", "epochs": DROPS}},
        # One thread: the loader takes the other core.
        "scale": {"accelerator": "cpu", "cpus_per_replica": 1},
    }


def plateau_spec(data: dict[str, str], init: str, seed: int) -> dict[str, Any]:
    """Return the beginning of the paper's run."""
    return {
        "name": f"{init}-{seed}",
        "seed": seed,
        "data": data,
        "model": {"num_classes": 10, "init": init},
        "optim": {"max_steps": STEPS},
        "precision": "bf16",
        "checkpoint": {"keep_last": 1, "keep_best": False},
        "evaluation": {"protocol": "centre_crop"},
        "scale": {"accelerator": "cpu", "cpus_per_replica": len(os.sched_getaffinity(0))},
    }


def train(work: Path, name: str, spec: dict[str, Any]) -> RunDirectory:
    """Train, unless the run is there and complete; an interrupted one goes on."""
    directory = RunDirectory((work / "runs" / name).absolute())
    if not directory.report.exists():
        file = work / f"{name}.json"
        file.write_text(json.dumps(spec, indent=1))
        resume = ["--resume"] if directory.newest_attempt() else []
        run("-m", "trainer", "--spec", file, "--run-dir", directory.path, *resume)
    return directory


def run(*arguments: object) -> None:
    """Run a module of this project."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


def losses(directory: RunDirectory) -> list[float]:
    """Return each step's training loss."""
    lines = lines_of(directory, "ledger-0.jsonl")
    return [line["loss"] for line in sorted(lines, key=lambda line: int(line["step"]))]


def evaluations(directory: RunDirectory) -> list[dict[str, Any]]:
    """Return the evaluations at the ends of epochs."""
    events = (line["data"] for line in lines_of(directory, "events.jsonl"))
    return [event for event in events if event["kind"] == "evaluated"]


def lines_of(directory: RunDirectory, name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of every attempt."""
    for number in range(1, directory.newest_attempt() + 1):
        for line in (directory.attempt(number).path / name).read_text().splitlines():
            yield json.loads(line)


def smoothed(values: list[float]) -> list[float]:
    """Return the mean of each WINDOW consecutive values."""
    return [statistics.fmean(values[end - WINDOW : end]) for end in range(WINDOW, len(values) + 1)]


def draw_small(directory: RunDirectory) -> None:
    """Draw the test error by epoch."""
    points = evaluations(directory)
    figure, axes = chart("CIFAR-10, preset small", "epoch", "test error, %")
    axes.plot([point["epoch"] for point in points], [100 * (1 - point["top1"]) for point in points])
    for epoch in DROPS:
        axes.axvline(epoch, color="grey", linestyle=":", linewidth=1)
    axes.set_ylim(bottom=0)
    save(figure, "learning-small.svg")
    last = 100 * (1 - points[-1]["top1"])
    print("BENCH", json.dumps({"run": "small", "test_error_percent": round(last, 2)}))


def draw_plateau(runs: dict[str, list[RunDirectory]]) -> None:
    """Draw the loss by step, and say when each run leaves the plateau."""
    figure, axes = chart(
        "Full-size network on CIFAR-10 at 224 pixels, batch 128, ε = .01",
        "step",
        f"training loss, mean of {WINDOW} steps",
    )
    for init, directories in runs.items():
        for seed, directory in zip(SEEDS, directories, strict=True):
            curve = smoothed(losses(directory)[:STEPS])
            steps = range(WINDOW, WINDOW + len(curve))
            label = INITS[init] if seed == SEEDS[0] else None
            axes.plot(steps, curve, color=COLOURS[init], label=label, linewidth=1)
            left = next(
                (step for step, loss in zip(steps, curve, strict=True) if loss < LIMIT), None
            )
            print("BENCH", json.dumps({"run": f"{init}-{seed}", "leaves_plateau_at_step": left}))
    axes.axhline(2.302585, color="grey", linestyle=":", linewidth=1, label="ln 10: knows nothing")
    axes.set_ylim(1, 3)
    axes.legend()
    save(figure, "learning-plateau.svg")


def chart(title: str, x: str, y: str) -> tuple[Any, Any]:
    """Return an empty chart."""
    # The same bytes for the same numbers.
    mpl.rcParams["svg.hashsalt"] = "alexnet"
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def save(figure: Any, name: str) -> None:
    """Write a chart into docs/."""
    figure.savefig(REPOSITORY / "docs" / name, metadata={"Date": None})
    print(f"docs/{name}")


if __name__ == "__main__":
    main()
