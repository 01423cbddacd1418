"""Which parts of an image a network is shown at test (paper section 4.1), and how they are cut."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from data_shards.arrays import Pixels
from data_shards.feeding.reader import Batch
from trainer.contract.spec import Protocol


@dataclass(frozen=True)
class View:
    """A square crop of an image, mirrored left to right or not; in pixels."""

    row: int
    column: int
    size: int
    mirrored: bool = False

    def of(self, batch: Batch) -> Batch:
        """Return a batch of whole images, (n, s, s, 3), as the reader gives this crop of them.

        Cut on the host from what was decoded once: .03 ms an image, mirrored .08 ms (measured, 224
        of 256 pixels), so that all that prepares a crop in training prepares a view too.
        """
        num_images = len(batch.images)
        return replace(
            batch,
            images=self._cut(batch.images),
            offsets=np.tile(np.array([self.row, self.column], dtype=np.int64), (num_images, 1)),
            mirrored=np.full(num_images, self.mirrored, dtype=np.bool_),
        )

    def _cut(self, images: Pixels) -> Pixels:
        """(n, s, s, 3) -> (n, c, c, 3)."""
        cut = images[:, self.row : self.row + self.size, self.column : self.column + self.size]
        if not self.mirrored:
            return np.ascontiguousarray(cut)
        # A quarter of the time that numpy takes to copy pixels in reverse.
        flipped: Pixels = torch.from_numpy(cut).flip(2).numpy()
        return flipped


def views(protocol: Protocol, *, image_size: int, input_size: int) -> tuple[View, ...]:
    """Return a protocol's views of square images.

    Ten: the corners and the centre, in the order of the 2012 source's `convdata.py`, then their
    mirrors. On images no larger than the input the five are one, which counts as often.
    """
    margin = image_size - input_size
    assert margin >= 0, "checked when the data were opened"
    middle = margin // 2
    if protocol == "centre_crop":
        return (View(middle, middle, input_size),)
    places = (0, 0), (0, margin), (middle, middle), (margin, 0), (margin, margin)
    return tuple(
        View(row, column, input_size, mirrored)
        for mirrored in (False, True)
        for row, column in places
    )
