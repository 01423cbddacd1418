"""From uint8 crops to what the towers read: mean image, PCA colour, layout; on the device.

The scale stays 0-255, without division by a standard deviation (paper section 2).

The unit of λ in section 4.1's colour shift [p1, p2, p3]·[α1λ1, α2λ2, α3λ3]ᵀ: the values published
for ImageNet, λ = (.2175, .0188, .0045), are **variances** of pixels on 0-1. Measured on 125 of its
photographs: variances (.198, .015, .004), standard deviations (.445, .121, .065). The shift αλ is
meant on that scale too: on 0-255 it is 255·α·λ = α·(variance on 0-255)/255. With variances on 0-255
for λ the formula would shift by a thousand grey levels. The 2012 source shifts by α standard
deviations instead, about twice as far, and divides the training input by 1.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_shards.manifest import RgbPca
from data_shards.reader import Batch
from trainer.contract.spec import Recipe

_SOURCE_DIVISOR = 1.1


@dataclass(frozen=True)
class Colour:
    """How the PCA colour is drawn in training."""

    pca: RgbPca
    strength: float
    recipe: Recipe

    def axes(self) -> npt.NDArray[np.float32]:
        """Return (3, 3): row i is the shift in RGB, on 0-255, for a standard normal of 1."""
        variances = np.asarray(self.pca.eigenvalues)
        lengths = np.sqrt(variances) if self.recipe == "source2012" else variances / 255
        axes = self.strength * lengths[:, None] * np.asarray(self.pca.eigenvectors)
        return np.asarray(axes, dtype=np.float32)


class Preprocess:
    """Prepares one replica's batches on the devices of its towers."""

    def __init__(
        self,
        mean_image: npt.NDArray[np.float32],
        colour: Colour | None,
        devices: Sequence[torch.device],
        dtype: torch.dtype,
    ) -> None:
        """`mean_image`, (s, s, 3) on 0-255, is the training set's; `colour` None: as at test."""
        self._devices = tuple(devices)
        self._dtype = dtype
        self._divisor = (
            _SOURCE_DIVISOR if colour is not None and colour.recipe == "source2012" else None
        )
        axes = None if colour is None or colour.strength == 0 else colour.axes()
        self._mean = {device: _on(mean_image, device) for device in self._devices}
        self._axes = {device: None if axes is None else _on(axes, device) for device in devices}

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the batch's images, (n, 3, c, c) in channels_last layout, for each tower."""
        first, second = self._devices
        images = self._prepare(batch, first)
        return images, images if second == first else self._prepare(batch, second)

    def _prepare(self, batch: Batch, device: torch.device) -> Tensor:
        offsets, mirrored = _on(batch.offsets, device), _on(batch.mirrored, device)
        mean = _mean_crops(self._mean[device], offsets, mirrored, batch.images.shape[1])
        # (n, c, c, 3) uint8 - float32
        x = torch.sub(_on(batch.images, device), mean)
        axes = self._axes[device]
        if axes is not None:
            # (n, 3) @ (3, 3) -> (n, 1, 1, 3)
            x += (_on(batch.colour, device) @ axes)[:, None, None, :]
        if self._divisor is not None:
            x /= self._divisor
        # (n, c, c, 3) -> (n, 3, c, c): the same memory is channels_last.
        return x.to(self._dtype).permute(0, 3, 1, 2)


def _mean_crops(mean: Tensor, offsets: Tensor, mirrored: Tensor, crop_size: int) -> Tensor:
    """Return (n, c, c, 3): the mean image cropped and reflected as each image was."""
    pixels = torch.arange(crop_size, device=mean.device)
    rows = offsets[:, 0, None] + pixels
    columns = offsets[:, 1, None] + torch.where(mirrored[:, None], crop_size - 1 - pixels, pixels)
    # (n, c, 1) and (n, 1, c) index the first two of (s, s, 3)
    return mean[rows[:, :, None], columns[:, None, :]]


def _on(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
