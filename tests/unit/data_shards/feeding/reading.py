"""What is read of a packed set, batch by batch, and how sets are damaged."""

from pathlib import Path
from typing import Any

import numpy as np

from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Batch, Reader


def plan_for(folder: Path, **changes: Any) -> ReaderPlan:
    fields: dict[str, Any] = {
        "location": str(folder),
        "seed": 5,
        "global_batch_size": 8,
        "crop_size": 24,
        "num_streams": 4,
        "window": 2,
    }
    return ReaderPlan(**{**fields, **changes})


def read(plan: ReaderPlan, start: int, stop: int, num_processes: int = 1) -> list[Batch]:
    with Reader(plan, num_processes=num_processes) as reader:
        return [keep(batch) for batch in reader.batches(start, stop)]


def keep(batch: Batch) -> Batch:
    return Batch(**{**vars(batch), "images": batch.images.copy()})


def same(one: Batch, other: Batch) -> bool:
    return all(
        np.array_equal(value, vars(other)[name])
        for name, value in vars(one).items()
        if name not in {"cost", "num_ready"}
    )


def flip_byte(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0xFF]))
