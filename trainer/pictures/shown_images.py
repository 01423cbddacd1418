"""The validation images that are shown at every step: chosen, read, and written as pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_shards.arrays import Int64s, Pixels
from data_shards.feeding.corrupt import CorruptImageError
from data_shards.feeding.decode import Decoder
from data_shards.feeding.reader import Batch
from data_shards.inspection.opened_set import OpenedSet, open_set
from data_shards.inspection.spread import spread_by_class
from data_shards.inspection.stored_image import decode_stored
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE
from trainer.contract.durable import write_whole
from trainer.contract.model_spec import ModelSpec
from trainer.contract.pictures import IMAGES_NAME
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.spec import DataSpec
from trainer.evaluation.views import View, views

# As many as Fig. 4 shows.
NUM_SHOWN = 8


@dataclass(frozen=True)
class Shown:
    """The images with what is known of them, and what they are judged by."""

    batch: Batch
    """Whole images."""
    view: View
    """The crop that is shown."""
    mean_image: npt.NDArray[np.float32]
    """(s, s, 3), the training set's."""
    names: tuple[str, ...]
    """By label."""


def choose(labels: Int64s, *, seed: int) -> Int64s:
    """Return up to eight samples: of as many classes as can be, drawn by the seed. Pure.

    labels: (num_samples,), as the manifest's index has them.
    """
    num_classes = max(1, len(np.unique(labels)))
    rows = min(NUM_SHOWN, num_classes)
    by_class = spread_by_class(labels, rows=rows, columns=-(-NUM_SHOWN // rows), seed=seed)
    # One of each class, then another of each.
    ordered = sorted(
        (place, row, int(sample))
        for row, samples in enumerate(by_class)
        for place, sample in enumerate(samples)
    )
    chosen = sorted((row, sample) for _, row, sample in ordered[:NUM_SHOWN])
    return np.array([sample for _, sample in chosen], dtype=np.int64)


def open_shown(data: DataSpec, model: ModelSpec, *, seed: int) -> Shown:
    """Read the chosen images; those that are corrupt are left out. Raises DataError."""
    opened = open_set(data.validation)
    index = opened.index()
    found = _read(opened, index, choose(index[:, LABEL], seed=seed))
    samples = np.array(list(found), dtype=np.int64)
    (view,) = views(
        "centre_crop", image_size=opened.manifest.image_size, input_size=model.input_size
    )
    return Shown(
        batch=_batch(samples, index[samples, LABEL], list(found.values())),
        view=view,
        mean_image=open_set(data.train).mean_image(),
        names=tuple(entry.name for entry in opened.manifest.classes),
    )


def write_shown(shown: Shown, attempt: AttemptDirectory) -> list[Path]:
    """Write each image's crop, once, and return their files. Raises OSError."""
    folder = attempt.pictures / IMAGES_NAME
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"sample-{sample:08d}.png" for sample in shown.batch.samples.tolist()]
    for file, image in zip(files, shown.view.of(shown.batch).images, strict=True):
        if not file.exists():
            write_whole(file, png(Image.fromarray(image)))
    return files


def png(image: Image.Image) -> bytes:
    """Return an image as a file."""
    content = io.BytesIO()
    image.save(content, format="png", optimize=True)
    return content.getvalue()


def _read(opened: OpenedSet, index: Int64s, chosen: Int64s) -> dict[int, Pixels]:
    manifest = opened.manifest
    decoder = Decoder(manifest.encoding, manifest.image_size, squared=manifest.squared)
    found = {}
    for sample in chosen.tolist():
        shard, offset, size = (int(index[sample, column]) for column in (SHARD, OFFSET, SIZE))

        def read(shard: int = shard, offset: int = offset, size: int = size) -> bytes:
            return opened.folder.read_range(manifest.shards[shard].name, offset, size)

        try:
            # The decoder decodes the next one into the same memory.
            found[sample] = decode_stored(decoder, size, read).copy()
        except CorruptImageError:
            continue
    return found


def _batch(samples: Int64s, labels: Int64s, images: Sequence[Pixels]) -> Batch:
    num_images = len(samples)
    return Batch(
        step=0,
        epoch=0,
        images=np.stack(images) if images else np.zeros((0, 1, 1, 3), dtype=np.uint8),
        labels=labels,
        real=np.ones(num_images, dtype=np.bool_),
        samples=samples,
        offsets=np.zeros((num_images, 2), dtype=np.int64),
        mirrored=np.zeros(num_images, dtype=np.bool_),
        colour=np.zeros((num_images, 3), dtype=np.float32),
        corrupt=(),
    )
