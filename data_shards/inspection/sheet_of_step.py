"""What a network is shown of one step: images as the feed crops and mirrors them, and coloured."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_shards.arrays import Int64s, Pixels
from data_shards.errors import PlanError
from data_shards.feeding.colour import Unit, colour_axes
from data_shards.feeding.crops import crops
from data_shards.feeding.decode import Decoder
from data_shards.feeding.draws import colour_normals
from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.plan import ReaderPlan
from data_shards.inspection.contact_sheet import Tile, draw_sheet
from data_shards.inspection.opened_set import OpenedSet
from data_shards.inspection.stored_image import UnreadableImageError, read_stored, telling_why
from data_shards.order import steps_per_epoch
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE

# Images, each with what is made of it; assumed to be as many as anyone looks at.
MAX_SHOWN = 32
_PAIRS_PER_ROW = 4


@dataclass(frozen=True, kw_only=True)
class Presented:
    """One image of a step, as it is presented."""

    sample: int
    offset: tuple[int, int]
    """Row and column of the crop in the stored image."""
    mirrored: bool
    shift: npt.NDArray[np.float32]
    """(3,) what is added to R, G and B, on 0-255."""


@dataclass(frozen=True, kw_only=True)
class StepOfEpoch:
    """Which step of which job to draw."""

    plan: ReaderPlan
    """Of one replica."""
    epoch: int
    step: int
    """Counted within the epoch."""
    colour_strength: float
    colour_unit: Unit = "variance"
    """What that is a multiple of, by the recipe."""


@dataclass(frozen=True, kw_only=True)
class SheetOfStep:
    """A drawn step."""

    image: Image.Image
    num_shown: int
    num_images: int
    """Of the step; fewer than the batch where the epoch runs out."""


def presented(opened: OpenedSet, asked: StepOfEpoch) -> list[Presented]:
    """Return the images of a step, place after place, by what feeds a network. Raises PlanError."""
    manifest, plan = opened.manifest, asked.plan
    plan.check(manifest)
    num_steps = steps_per_epoch(manifest.num_samples, plan.global_batch_size)
    if asked.step >= num_steps:
        raise PlanError(
            f"an epoch has {num_steps:,} steps, the first of which is 0; there is no step "
            f"{asked.step:,}"
        )
    sizes = [shard.num_samples for shard in manifest.shards]
    order = order_of_epoch(plan, sizes, asked.epoch)
    samples, real = order.batch(asked.step, plan.global_batch_size)
    offsets, mirrored = crops(
        plan,
        samples,
        epoch=asked.epoch,
        step=asked.step,
        margin=manifest.image_size - plan.crop_size,
    )
    axes = colour_axes(manifest.rgb_pca, asked.colour_strength, asked.colour_unit)
    # (n, 3) @ (3, 3)
    shifts = colour_normals(samples, seed=plan.seed, epoch=asked.epoch) @ axes
    return [
        Presented(
            sample=int(samples[place]),
            offset=(int(offsets[place, 0]), int(offsets[place, 1])),
            mirrored=bool(mirrored[place]),
            shift=shifts[place],
        )
        for place in np.flatnonzero(real).tolist()
    ]


def sheet_of_step(opened: OpenedSet, asked: StepOfEpoch) -> SheetOfStep:
    """Draw images spread over a step, each beside its source; an unreadable one is a placeholder.

    Raises PlanError, ShardError for an index that is not the manifest's, StorageDownError.
    """
    images = presented(opened, asked)
    num_shown = min(len(images), MAX_SHOWN)
    # Of every stream some: their places follow one another.
    shown = [images[number * len(images) // num_shown] for number in range(num_shown)]
    pairs = _Pairs(opened, opened.index(), asked.plan.crop_size)
    tiles = [tile for one in shown for tile in pairs.of(one)]
    per_row = 2 * _PAIRS_PER_ROW
    rows = [tiles[first : first + per_row] for first in range(0, len(tiles), per_row)]
    title = f"{opened.manifest.split} · {opened.folder.location}"
    facts = _facts(opened, asked, num_shown=num_shown, num_images=len(images))
    sheet = draw_sheet(title, facts, rows)
    return SheetOfStep(image=sheet, num_shown=num_shown, num_images=len(images))


def _facts(opened: OpenedSet, asked: StepOfEpoch, *, num_shown: int, num_images: int) -> list[str]:
    plan, edge = asked.plan, opened.manifest.image_size
    cut = "crops" if plan.random_crop else "centre crops"
    mirrored = "half of them mirrored" if plan.mirror else "none mirrored"
    together = f", {plan.images_per_crop} images alike" if plan.images_per_crop > 1 else ""
    return [
        f"{num_shown:,} of the {num_images:,} images of step {asked.step:,} in epoch {asked.epoch}",
        f"seed {plan.seed}",
        f"batch of {plan.global_batch_size:,} from {plan.num_streams:,} streams",
        f"window of {plan.window:,} shards",
        f"{cut} of {plan.crop_size}×{plan.crop_size} from {edge}×{edge}{together}",
        mirrored,
        f"colour strength {asked.colour_strength:g}",
        "each source, pale but for its crop, and what is made of it before the mean is subtracted",
    ]


class _Pairs:
    def __init__(self, opened: OpenedSet, index: Int64s, crop_size: int) -> None:
        self._opened = opened
        self._index = index
        self._crop_size = crop_size
        manifest = opened.manifest
        self._decoder = Decoder(manifest.encoding, manifest.image_size, squared=manifest.squared)

    def of(self, one: Presented) -> tuple[Tile, Tile]:
        """Return an image's source and what is made of it."""
        shard, offset, size, label = (
            int(self._index[one.sample, column]) for column in (SHARD, OFFSET, SIZE, LABEL)
        )
        name = self._opened.manifest.shards[shard].name
        caption = self._opened.manifest.classes[label].name
        note = f"label {label} · sample {one.sample}"
        row, column = one.offset
        way = f"row {row}, column {column}" + (", mirrored" if one.mirrored else "")
        given = np.empty((self._crop_size, self._crop_size, 3), dtype=np.uint8)
        try:
            with telling_why(name):
                stored = read_stored(
                    self._decoder,
                    size,
                    lambda: self._opened.folder.read_range(name, offset, size),
                )
                source = _framed(self._decoder.decode(stored), one.offset, self._crop_size)
                # One by one: the kernel for batches, of the same bits, would have to be built.
                self._decoder.decode_crop(stored, given, row, column, mirror=one.mirrored)
        except UnreadableImageError as error:
            problem = str(error)
            return Tile(None, caption, note, problem), Tile(None, way, "", "weighs zero")
        return Tile(source, caption, note), Tile(shifted(given, one.shift), way, _colour(one.shift))


def shifted(crop: Pixels, shift: npt.NDArray[np.float32]) -> Pixels:
    """Return a crop, uint8 (n, n, 3), shifted by (3,), as far as pixels can show it."""
    # (n, n, 3) + (3,)
    return np.asarray(np.clip(np.rint(crop + shift), 0, 255), dtype=np.uint8)


def _framed(source: Pixels, offset: tuple[int, int], edge: int) -> Pixels:
    """Return a copy of an image that is pale but for a crop of it."""
    row, column = offset
    inside = slice(row, row + edge), slice(column, column + edge)
    framed = source // 3 + np.uint8(170)
    framed[inside] = source[inside]
    return framed


def _colour(shift: npt.NDArray[np.float32]) -> str:
    red, green, blue = shift.tolist()
    return f"R {red:+.1f}, G {green:+.1f}, B {blue:+.1f}"
