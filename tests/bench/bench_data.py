"""How fast photographs are fed and packed, beside what others use; all in one run, in turns.

    python -m tests.bench.bench_data [--images FOLDER_OR_TAR] [--only jpeg raw packing memory]

Every contender reads the same photographs at 256 pixels, quality 92, from the page cache, and gives
batches of 128 crops of 224 pixels, half of them mirrored, with as many workers as there are cores.
Each is a process that waits for its turn; a turn is whole epochs, each timed from the first batch
handed over to the last: whoever works ahead has begun the second then, decoding alone as well.
Packers are timed as a whole. After a turn to warm up they alternate; the best rounds make the
ratios.
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
    ours packing         `pack` of the same photographs, as a whole

`first_batch_warm_s` and `first_batch_raw_warm_s` are from opening another reader (8 streams, window
4: its first batch is of 32 of the 64 shards) to its first batch, after an earlier one; `ever`:
after the shards were touched, so that they are digested first. All lies in the page cache both
times.

`loaders_memory_ratio` is of the pages that loaders map of the set's files: those of four loaders,
each page counted once (PSS), over those of one, after whole epochs; null unless nearly the whole
set is mapped. `loaders_memory_ratio_with_private` counts heaps and batches too, beyond what idle
interpreters have.

DALI and FFCV are installed in build/bench, each in an environment of its own; one that cannot be is
told of, and its ratio is null.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.data import sets
from tests.bench.data.contender import Contender, ContenderDiedError, Results, Running
from tests.bench.data.contenders import BATCH, OURS, Absent, Field, field_of
from tests.bench.data.loaders import LoadersMemory, loaders_memory, shared_ratio, whole_ratio
from tests.bench.data.memory import descendants
from tests.bench.data.report import Ratio, figure_of, show, to_json
from tests.bench.figures import Figure

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
MAKE = 'make bench-data BENCH_ARGS="--images FOLDER_OR_TAR"'
# Fewer batches flatter whoever has some ready when the first is handed over.
MIN_IMAGES = 16 * BATCH
FIRST_BATCH_S, LOADERS_RATIO = 1.5, 1.3
MANY_LOADERS = 4
OURS_JPEG, OURS_RAW = "ours jpeg", "ours raw"


@dataclass
class Measured:
    """All of a run."""

    results: dict[str, Results] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    first_batch_s: dict[str, list[float]] = field(default_factory=dict)
    """By contender: first the one ever, then one a round."""
    loaders: dict[int, LoadersMemory] = field(default_factory=dict)
    """By their number."""
    set_bytes: int = 0
    """What loaders were looked at with."""


def main() -> None:
    """Measure, print two tables and one JSON line."""
    arguments = parse()
    if not arguments.images.exists():
        sys.exit(f"{arguments.images} does not exist; name photographs: {MAKE}")
    if arguments.num_images < MIN_IMAGES:
        sys.exit(f"{arguments.num_images} images are too few; take {MIN_IMAGES} or more")
    work = ROOT / "build" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    images = arguments.images.resolve()
    everyone = field_of(images, arguments.num_images, work, arguments.processes)
    contenders = list(contenders_of(everyone, arguments.only))
    if arguments.prepare:
        return
    measured = Measured()
    take_turns(contenders, work, arguments.rounds, measured)
    if "memory" in arguments.only:
        measure_loaders(everyone, measured)
    figures = figures_of(measured)
    settings = {
        "images": everyone.photographs.num_images,
        "images packed": everyone.packed.num_images,
        "processes": arguments.processes,
        "cores": len(os.sched_getaffinity(0)),
        "rounds": arguments.rounds,
    }
    title = f"{platform.machine()}, " + ", ".join(f"{n} {name}" for name, n in settings.items())
    show(measured.results, figures, title)
    if isinstance(why := loaders_ratio(measured), str):
        print("loaders_memory_ratio:", why)
    print("Versions:", ", ".join(f"{name} {each}" for name, each in measured.versions.items()))
    others = {
        "first_batches_s": measured.first_batch_s,
        "loaders_mib": {
            number: {"mapped_of_set": each.mapped >> 20, "private": each.private >> 20}
            for number, each in measured.loaders.items()
        },
        "set_mib": measured.set_bytes >> 20,
        "run_s": round(time.monotonic() - started),
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
                if each.name in (OURS_JPEG, OURS_RAW):
                    seconds = running[each.name].ask("first_ever")["seconds"]
                    measured.first_batch_s[each.name] = [seconds]
            except ContenderDiedError as error:
                if each.python == OURS:
                    raise
                results[each.name].absent = str(error)
                del running[each.name]
        for _ in range(rounds):
            for name, process in running.items():
                results[name].rates.append(process.turn())
                if name in measured.first_batch_s:
                    measured.first_batch_s[name].append(process.ask("first")["seconds"])


def measure_loaders(everyone: Field, measured: Measured) -> None:
    """Compare what one loader and what several take, after whole epochs of the JPEGs."""
    packed = sets.shards(everyone.photographs, "jpeg", everyone.work)
    measured.set_bytes = sum(Path(shard).stat().st_size for shard in sets.shard_paths(packed))
    for number in (1, MANY_LOADERS):
        contender = everyone.reader(f"ours {number} loaders", packed, number, "uint8")
        with Running(contender, everyone.work) as process:
            process.wait_ready()
            process.turn()
            pids = descendants(process.pid)
            assert len(pids) == number
            measured.loaders[number] = loaders_memory(pids, packed)


def loaders_ratio(measured: Measured) -> float | str | None:
    """Return the ratio, or why there is none; None where nobody looked."""
    if not measured.loaders:
        return None
    one, many = measured.loaders[1], measured.loaders[MANY_LOADERS]
    return shared_ratio(one, many, measured.set_bytes)


def figures_of(measured: Measured) -> list[Figure]:
    """Return what has a target."""
    ratio, loaders = loaders_ratio(measured), measured.loaders
    shared = None if isinstance(ratio, str) else ratio
    whole = whole_ratio(loaders[1], loaders[MANY_LOADERS]) if loaders else None
    figures = [figure_of(each, measured.results) for each in RATIOS]
    for name, figure in ((OURS_JPEG, "first_batch"), (OURS_RAW, "first_batch_raw")):
        seconds = measured.first_batch_s.get(name, [])
        ever = seconds[0] if seconds else None
        median = statistics.median(seconds[1:]) if len(seconds) > 1 else None
        figures.append(Figure(f"{figure}_warm_s", median, FIRST_BATCH_S, at_most=True))
        figures.append(Figure(f"{figure}_ever_s", ever, None))
    return [
        *figures,
        Figure("loaders_memory_ratio", shared, LOADERS_RATIO, at_most=True),
        Figure("loaders_memory_ratio_with_private", whole, None),
    ]


if __name__ == "__main__":
    main()
