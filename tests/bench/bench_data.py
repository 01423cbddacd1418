"""How fast photographs are fed and packed, beside what others use; all in one run, in turns.

    python -m tests.bench.bench_data [--images FOLDER_OR_TAR] [--only jpeg raw packing memory]

Every contender reads the same photographs at 256 pixels, quality 92, from the page cache, and gives
batches of 128 crops of 224 pixels, half of them mirrored, with as many workers as there are cores.
Each is a process that waits for its turn; a turn is whole epochs, each timed from the first batch
handed over to the last. After a turn to warm up they alternate; the best rounds make the ratios.
Who shuffles in a buffer (webdataset, DALI) reads in order here, which costs them less; FFCV and
ours shuffle.

    webdataset PIL       webdataset, PIL, torchvision's transforms, DataLoader; float32
    webdataset uint8     the same without ToTensor and Normalize
    DALI                 NVIDIA's CPU pipeline: decode, crop, mirror, less a mean; float32
    FFCV jpeg, raw       uint8, random crop and mirror
    ... centre           the centre crop of all, none mirrored
    decode alone         libjpeg-turbo on every core, from memory to 256 pixels: the limit
    ours jpeg, raw       uint8
    ours float32         `ours jpeg` and the trainer's kernel: less the mean image, channels last
    ours colour          the same with PCA colour
    PIL packing          a loop of open, resize (Lanczos), crop, save; a process a core
    ours packing         `pack` as a whole

`loaders_memory_ratio` is of the pages that loaders map of the set's files: those of four loaders,
each page counted once (PSS), over those of one, after whole epochs. What loaders hold besides is
told beside it. DALI and FFCV are installed in build/bench, each in an environment of its own; one
that cannot be is told of, and its ratio is null.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.data import sets
from tests.bench.data.contender import Contender, ContenderDiedError, Results, Running
from tests.bench.data.contenders import BATCH, OURS, Absent, Field
from tests.bench.data.memory import descendants, mapped_bytes_of, memory_of
from tests.bench.data.report import Figure, Ratio, figure_of, show, to_json

ROOT = Path(__file__).parents[2]
PARTS = ("jpeg", "raw", "packing", "memory")
RATIOS = (
    Ratio("jpeg_ratio_to_webdataset_pil", "ours jpeg", "webdataset PIL", 5),
    Ratio("jpeg_ratio_to_ffcv", "ours jpeg", "FFCV jpeg", 1.5),
    Ratio("jpeg_ratio_to_decode_limit", "ours jpeg", "decode alone", 0.75),
    Ratio("raw_ratio_to_ffcv_raw", "ours raw", "FFCV raw", 1.2),
    Ratio("float_ratio_to_dali", "ours float32", "DALI", 1.5),
    Ratio("packing_ratio_to_pil_loop_per_core", "ours packing", "PIL packing", 2),
)
# Fewer batches flatter whoever has some ready when the first is handed over.
MIN_IMAGES = 16 * BATCH
FIRST_BATCH_S, LOADERS_RATIO = 1.5, 1.3
MANY_LOADERS = 4


@dataclass
class Measured:
    """All of a run."""

    results: dict[str, Results] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    first_batch_s: dict[str, float] = field(default_factory=dict)
    """Median over rounds, by contender."""
    loaders: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, print two tables and one JSON line."""
    arguments = parse()
    if not arguments.images.exists():
        sys.exit(f"{arguments.images} does not exist; name a folder or a tar with --images")
    if arguments.num_images < MIN_IMAGES:
        sys.exit(f"{arguments.num_images} images are too few; take {MIN_IMAGES} or more")
    work = ROOT / "build" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    photographs = sets.repeated(arguments.images.resolve(), arguments.num_images, work)
    everyone = Field(photographs, work, arguments.processes)
    contenders = list(contenders_of(everyone, arguments.only))
    if arguments.prepare:
        return
    measured = Measured()
    take_turns(contenders, work, arguments.rounds, measured)
    if "memory" in arguments.only:
        measure_loaders(everyone, measured)
    figures = figures_of(measured)
    settings = {
        "images": photographs.num_images,
        "processes": arguments.processes,
        "cores": len(os.sched_getaffinity(0)),
        "rounds": arguments.rounds,
    }
    title = f"{platform.machine()}, " + ", ".join(f"{n} {name}" for name, n in settings.items())
    show(measured.results, figures, title)
    print("Versions:", ", ".join(f"{name} {each}" for name, each in measured.versions.items()))
    others = {
        "first_batch_warm_s_by_contender": measured.first_batch_s,
        "loaders": measured.loaders,
        "settings": settings,
        "versions": measured.versions,
    }
    print("BENCH", json.dumps(to_json(measured.results, figures, others)))


def parse() -> argparse.Namespace:
    """Read the options."""
    default = ROOT.parent / "shared" / "data" / "imagenet-125.tar"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=default, help="photographs: folder or tar")
    parser.add_argument("--num-images", type=int, default=8192, help="repeated to so many")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--prepare", action="store_true", help="install and pack, measure nothing")
    return parser.parse_args()


def contenders_of(everyone: Field, parts: list[str]) -> Iterator[Contender | Absent]:
    """Yield who takes part in these parts."""
    if "jpeg" in parts:
        yield from everyone.jpeg()
    if "raw" in parts:
        yield from everyone.raw()
    if "packing" in parts:
        yield from everyone.packing()


def take_turns(
    contenders: list[Contender | Absent], work: Path, rounds: int, measured: Measured
) -> None:
    """Start all, warm up each, then let them alternate."""
    results = measured.results
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for each in contenders:
            results[each.name] = Results()
            if isinstance(each, Absent):
                results[each.name].absent = each.reason
                continue
            running[each.name] = stack.enter_context(Running(each, work))
            try:
                measured.versions |= running[each.name].wait_ready()
                results[each.name].peak = running[each.name].warm_up()
            except ContenderDiedError as error:
                if each.python == OURS:
                    raise
                results[each.name].absent = str(error)
                del running[each.name]
        first_batches: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, process in running.items():
                results[name].rates.append(process.turn())
                if name in ("ours jpeg", "ours raw"):
                    first_batches.setdefault(name, []).append(process.ask("first")["seconds"])
    measured.first_batch_s = {
        name: round(statistics.median(seconds), 3) for name, seconds in first_batches.items()
    }


def measure_loaders(everyone: Field, measured: Measured) -> None:
    """Compare what one loader and what several take, after whole epochs of the JPEGs."""
    packed = sets.shards(everyone.photographs, "jpeg", everyone.work)
    for number in (1, MANY_LOADERS):
        contender = everyone.reader(f"ours {number} loaders", packed, number, "uint8")
        with Running(contender, everyone.work) as process:
            process.wait_ready()
            process.turn()
            pids = descendants(process.pid)
            assert len(pids) == number
            measured.loaders |= {
                f"{number}_mapped_of_set_mib": round(mapped_bytes_of(pids, packed) / 2**20, 1),
                f"{number}_whole_mib": round(memory_of(pids).whole / 2**20, 1),
            }


def figures_of(measured: Measured) -> list[Figure]:
    """Return what has a target."""
    loaders, first = measured.loaders, measured.first_batch_s.get("ours jpeg")
    one = loaders.get("1_mapped_of_set_mib")
    ratio = round(loaders[f"{MANY_LOADERS}_mapped_of_set_mib"] / one, 3) if one else None
    return [
        *(figure_of(each, measured.results) for each in RATIOS),
        Figure("first_batch_warm_s", first, FIRST_BATCH_S, at_most=True),
        Figure("loaders_memory_ratio", ratio, LOADERS_RATIO, at_most=True),
    ]


if __name__ == "__main__":
    main()
