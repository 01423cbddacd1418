"""The contact sheet of a packed set."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from data_shards.arrays import Int64s
from data_shards.feeding.decode import Decoder
from data_shards.inspection.contact_sheet import Tile, draw_sheet
from data_shards.inspection.opened_set import OpenedSet
from data_shards.inspection.spread import spread_by_class, spread_samples
from data_shards.inspection.stored_image import UnreadableImageError, decode_stored, telling_why
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE


def sheet_of_set(
    opened: OpenedSet,
    *,
    columns: int,
    rows: int,
    seed: int,
    by_class: bool,
    before_each: Callable[[], None] = lambda: None,
) -> Image.Image:
    """Draw samples spread over the set, or over classes, one a row; each with label and class.

    A sample that cannot be read is a placeholder with the reason. `before_each` is called before
    one is read, and may raise to give it all up. Raises ShardError for an index that is not the
    manifest's, StorageDownError.
    """
    index = opened.index()
    manifest = opened.manifest
    num_classes = len(manifest.classes)
    if by_class:
        chosen = spread_by_class(index[:, LABEL], rows=rows, columns=columns, seed=seed)
        num_present = len(np.unique(index[:, LABEL]))
        how = f"{len(chosen):,} of {num_present:,} classes that have samples, one a row"
    else:
        spread = spread_samples(len(index), rows * columns, seed=seed)
        # (n,) -> rows of (columns,), the last perhaps shorter
        chosen = np.split(spread, range(columns, len(spread), columns))
        how = f"{len(spread):,} of {manifest.num_samples:,} samples of {num_classes:,} classes"
    tiles = _Tiles(opened, index, before_each)
    size = f"{manifest.image_size}×{manifest.image_size}"
    facts = [
        how,
        f"{manifest.encoding}, {size}" if manifest.squared else f"as they came, squared to {size}",
        f"seed {seed}",
    ]
    title = f"{manifest.split} · {opened.folder.location}"
    return draw_sheet(title, facts, [[tiles.of(sample) for sample in row] for row in chosen])


class _Tiles:
    def __init__(self, opened: OpenedSet, index: Int64s, before_each: Callable[[], None]) -> None:
        self._opened = opened
        self._index = index
        self._before_each = before_each
        manifest = opened.manifest
        self._decoder = Decoder(manifest.encoding, manifest.image_size, squared=manifest.squared)

    def of(self, sample: np.int64) -> Tile:
        self._before_each()
        shard, offset, size, label = (
            int(self._index[sample, column]) for column in (SHARD, OFFSET, SIZE, LABEL)
        )
        caption = self._opened.manifest.classes[label].name
        note = f"label {label} · sample {sample}"
        name = self._opened.manifest.shards[shard].name
        folder = self._opened.folder
        try:
            with telling_why(name):
                image = decode_stored(
                    self._decoder, size, lambda: folder.read_range(name, offset, size)
                )
        except UnreadableImageError as error:
            return Tile(None, caption, note, problem=str(error))
        # The decoder decodes the next one into the same memory.
        return Tile(image.copy(), caption, note)
