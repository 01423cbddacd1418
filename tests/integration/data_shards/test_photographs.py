"""Squares of photographs: the same bits and the same picture whichever way they are made."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.arrays import Pixels
from data_shards.images.encode import encode_jpeg
from data_shards.images.image_file import open_image
from data_shards.images.jpeg_file import has_too_many_scans, loss_in
from data_shards.images.skip import SkippedImageError
from data_shards.images.square import divisor_for, square_of
from data_shards.kernels.resample import resample
from data_shards.packing.statistics import PixelSums

PHOTOGRAPHS = Path(__file__).parents[3].parent / "shared" / "data" / "imagenet-125.tar"

pytestmark = pytest.mark.skipif(
    not PHOTOGRAPHS.is_file(), reason=f"no photographs: {PHOTOGRAPHS} is absent"
)


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    with tarfile.open(PHOTOGRAPHS) as archive:
        files = [archive.extractfile(member) for member in archive if member.isfile()]
        return [file.read() for file in files if file is not None]


def divisor_of(photograph: bytes, size: int) -> int:
    with open_image(photograph) as file:
        return divisor_for(min(file.size), size)


def from_all_pixels(photograph: bytes, size: int) -> Pixels:
    """Return the square by Pillow alone, decoded at full size."""
    with Image.open(BytesIO(photograph)) as image:
        (width, height), edge = image.size, min(image.size)
        left, top = (width - edge) / 2, (height - edge) / 2
        box = (left, top, left + edge, top + edge)
        return resample(image.convert("RGB"), box, size)


def decibels(a: Pixels, b: Pixels) -> float:
    """Return the ratio of peak signal to noise."""
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9))


def test_the_kernel_gives_the_bits_of_pillow(photographs):
    whole = [photograph for photograph in photographs if divisor_of(photograph, 256) == 1]
    assert len(whole) > 100
    for photograph in whole:
        assert np.array_equal(square_of(photograph, 256), from_all_pixels(photograph, 256))


def test_whole_ones_pass_and_halves_are_skipped(photographs):
    for photograph in photographs:
        with Image.open(BytesIO(photograph)) as image:
            num_colours = len(image.getbands())
        assert loss_in(photograph, num_colours) is None
        assert not has_too_many_scans(photograph)
        with pytest.raises(SkippedImageError):
            square_of(photograph[: len(photograph) // 2] + b"\xff\xd9", 256)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_a_smaller_decoding_is_the_same_to_the_eye(photographs, size):
    ratios = [
        decibels(square_of(photograph, size), from_all_pixels(photograph, size))
        for photograph in photographs
        if divisor_of(photograph, size) > 1
    ]
    assert len(ratios) > 10
    assert min(ratios) > 40
    assert np.mean(ratios) > 45


def test_statistics_of_squares_are_those_of_what_is_stored_of_them(photographs):
    squares, stored = PixelSums.zero(256), PixelSums.zero(256)
    for photograph in photographs:
        square = square_of(photograph, 256)
        squares.add_image(square)
        with open_image(encode_jpeg(square, 92)) as file:
            stored.add_image(np.asarray(file.decoded()))
    difference = squares.mean_image() - stored.mean_image()
    # What JPEG does to a pixel comes out as nothing over many: it falls with the root of their
    # number, here 125, to hundredths of a grey level over ILSVRC2012.
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.05
    assert np.sqrt(np.square(difference).mean()) < 0.7
    # Of colour it takes some away, as its resolution is halved.
    ours, theirs = squares.rgb_pca(), stored.rgb_pca()
    ratios = np.array(ours.eigenvalues) / theirs.eigenvalues
    assert ratios[0] == pytest.approx(1, abs=0.005)
    assert ratios[1:] == pytest.approx(1.06, abs=0.01)
    for ours_row, theirs_row in zip(ours.eigenvectors, theirs.eigenvectors, strict=True):
        assert np.dot(ours_row, theirs_row) > 0.9999
