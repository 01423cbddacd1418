"""From uint8 crops to what the towers read: mean image, PCA colour, layout; on the device.

The scale stays 0-255, without division by a standard deviation (paper section 2).

The unit of λ in section 4.1's colour shift [p1, p2, p3]·[α1λ1, α2λ2, α3λ3]ᵀ: the values published
for ImageNet, λ = (.2175, .0188, .0045), are **variances** of pixels on 0-1. Measured on 125 of its
photographs: variances (.198, .015, .004), standard deviations (.445, .121, .065). The shift αλ is
meant on that scale too: on 0-255 it is 255·α·λ = α·(variance on 0-255)/255. With variances on 0-255
for λ the formula would shift by a thousand grey levels. The 2012 source, `convdata.py`, shifts by α
standard deviations instead, about twice as far, and then divides the training input, shift and all,
by 1 + the strength of α, so that it spreads no more than the input at test.

The mean image too is taken in two ways. Section 2 subtracts "the mean activity over the training
set from each pixel": each pixel's own, wherever the crop lies and whether or not it is mirrored.
The 2012 source subtracts the centre crop of the mean image from every crop, in training and in all
ten views.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_shards.feeding.colour import Unit, colour_axes
from data_shards.feeding.reader import Batch
from data_shards.manifest import RgbPca
from trainer.contract.model_spec import Recipe
from trainer.devices.upload import stage, upload
from trainer.kernels.library import address, load


@dataclass(frozen=True)
class Colour:
    """How the PCA colour is drawn in training."""

    pca: RgbPca
    strength: float
    recipe: Recipe

    def axes(self) -> npt.NDArray[np.float32]:
        """Return (3, 3): row i is the shift in RGB, on 0-255, for a standard normal of 1."""
        unit: Unit = "deviation" if self.recipe == "source2012" else "variance"
        return colour_axes(self.pca, self.strength, unit)

    @property
    def divisor(self) -> float | None:
        """What the shifted input is divided by; None: nothing."""
        return 1 + self.strength if self.recipe == "source2012" else None


class _Staged(NamedTuple):
    """What of a batch is prepared, as tensors of its shapes and dtypes on one device."""

    images: Tensor
    offsets: Tensor
    mirrored: Tensor
    colour: Tensor


class Preprocess:
    """Prepares one replica's batches on the devices of its towers."""

    def __init__(
        self,
        mean_image: npt.NDArray[np.float32],
        colour: Colour | None,
        devices: Sequence[torch.device],
        dtype: torch.dtype,
        *,
        centre_mean: bool = False,
    ) -> None:
        """`mean_image`, (s, s, 3) on 0-255, is the training set's; `colour` None: as at test.

        With `centre_mean` its centre is subtracted from every crop, else what lies under the crop.
        """
        self._devices = tuple(devices)
        self._dtype = dtype
        self._centre_mean = centre_mean
        self._divisor = None if colour is None else colour.divisor
        on_cpu = all(device.type == "cpu" for device in self._devices)
        self._kernels = load("preprocess") if on_cpu else None
        axes = None if colour is None or colour.strength == 0 else colour.axes()
        # The kernel reads it row by row.
        mean = np.ascontiguousarray(mean_image)
        self._mean = {device: upload(mean, device) for device in self._devices}
        if self._kernels:
            as_is = self._mean[self._devices[0]]
            # (s, s, 3) -> (2, s, s, 3): as it is, and reflected
            self._means = torch.stack((as_is, as_is.flip(1)))
        self._axes = {device: None if axes is None else upload(axes, device) for device in devices}

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the batch's images, (n, 3, c, c) in channels_last layout, for each tower.

        The batch may be written again at once.
        """
        first, second = self._devices
        if self._kernels:
            images = self._fused(batch)
            return images, images
        arrays = batch.images, batch.offsets, batch.mirrored, batch.colour
        # Once, for both towers.
        staged = _Staged(*(stage(array, first) for array in arrays))
        images = self._one_by_one(staged, first)
        return images, images if second == first else self._one_by_one(staged, second)

    def _fused(self, batch: Batch) -> Tensor:
        """Return (n, 3, c, c), computed in one pass on the CPU, bit for bit as one by one."""
        assert self._kernels is not None
        cpu = self._devices[0]
        images = torch.from_numpy(batch.images).contiguous()
        n, crop_size = images.shape[:2]
        mean_size = self._means.shape[1]
        offsets = torch.from_numpy(batch.offsets).contiguous()
        mirrored = torch.from_numpy(batch.mirrored).contiguous()
        if self._centre_mean:
            offsets = torch.full_like(offsets, (mean_size - crop_size) // 2)
            mirrored = torch.zeros_like(mirrored)
        # The kernel trusts them.
        assert bool(((offsets >= 0) & (offsets + crop_size <= mean_size)).all())
        axes = self._axes[cpu]
        shifts = None if axes is None else torch.from_numpy(batch.colour) @ axes
        prepared = torch.empty(images.shape, dtype=self._dtype)
        self._kernels[f"prepare_{str(self._dtype).removeprefix('torch.')}"](
            *map(address, (images, self._means, offsets, mirrored, shifts, prepared)),
            *(ctypes.c_int64(size) for size in (n, crop_size, mean_size)),
            ctypes.c_float(self._divisor or 1.0),
        )
        return _channels_last(prepared)

    def _one_by_one(self, staged: _Staged, device: torch.device) -> Tensor:
        """Return (n, 3, c, c) on a device."""
        there = _Staged(*(tensor.to(device, non_blocking=True) for tensor in staged))
        # (n, c, c, 3) uint8 - float32 (n, c, c, 3) or (c, c, 3)
        x = torch.sub(there.images, self._mean_under(there, device))
        axes = self._axes[device]
        if axes is not None:
            # (n, 3) @ (3, 3) -> (n, 1, 1, 3)
            x += (there.colour @ axes)[:, None, None, :]
        if self._divisor is not None:
            x /= self._divisor
        return _channels_last(x.to(self._dtype))

    def _mean_under(self, there: _Staged, device: torch.device) -> Tensor:
        """Return what to subtract: (n, c, c, 3), or (c, c, 3) where all crops share it."""
        mean, crop_size = self._mean[device], there.images.shape[1]
        if self._centre_mean:
            return centre(mean, crop_size)
        return _mean_crops(mean, there.offsets, there.mirrored, crop_size)


def centre(mean: Tensor, crop_size: int) -> Tensor:
    """Return the middle of an image: (s, s, 3) -> (c, c, 3)."""
    first = (len(mean) - crop_size) // 2
    return mean[first : first + crop_size, first : first + crop_size]


def _channels_last(images: Tensor) -> Tensor:
    # (n, c, c, 3) -> (n, 3, c, c): the same memory is channels_last.
    return images.permute(0, 3, 1, 2)


def _mean_crops(mean: Tensor, offsets: Tensor, mirrored: Tensor, crop_size: int) -> Tensor:
    """Return (n, c, c, 3): the mean image cropped and reflected as each image was."""
    pixels = torch.arange(crop_size, device=mean.device)
    rows = offsets[:, 0, None] + pixels
    columns = offsets[:, 1, None] + torch.where(mirrored[:, None], crop_size - 1 - pixels, pixels)
    # (n, c, 1) and (n, 1, c) index the first two of (s, s, 3)
    return mean[rows[:, :, None], columns[:, None, :]]
