"""From any image to the paper's square (section 2)."""

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from data_shards.arrays import Pixels
from data_shards.images.skip import SkippedImageError, SkipReason

# Pillow's own decoders alone. It knows others that start programs: EPS runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")


def square_of(image: bytes | Pixels, size: int) -> Pixels:
    """Return uint8 (size, size, 3), RGB, of a file's bytes or of pixels, (h, w, 3) or (h, w).

    Raises SkippedImageError if the bytes are no such image; MemoryError.
    """
    if not isinstance(image, bytes):
        return square(Image.fromarray(image), size)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which is not ours to mend, and of pixel bombs.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(image), formats=_FORMATS) as opened:
                return square(opened, size)
    except (SkippedImageError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS) from None
    except Exception as error:
        # Any kind: Pillow's plugins raise whatever they meet in a broken file.
        raise SkippedImageError(SkipReason.UNREADABLE) from error


def square(image: Image.Image, size: int) -> Pixels:
    """Scale the shorter side to `size` and take the centre square (paper section 2).

    Both at once: the centre square of the shorter side, in exact source coordinates, is resampled
    with Lanczos' filter, widened when scaling down. Returns uint8 (size, size, 3), RGB.
    Raises SkippedImageError where nothing tells what is white.
    """
    upright = _with_bytes(ImageOps.exif_transpose(image), image.format)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    edge = min(upright.size)
    left, top = (upright.width - edge) / 2, (upright.height - edge) / 2
    scaled = upright.resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + edge, top + edge)
    )
    return np.asarray(scaled.convert("RGB"))


def _with_bytes(image: Image.Image, file_format: str | None) -> Image.Image:
    """Turn grey values of 16 bits into 8; Pillow's own conversion would make most of them white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        # The high byte, as Pillow takes it of colours of 16 bits. Pillow scales PPM to 16 bits.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise SkippedImageError(SkipReason.UNKNOWN_WHITE)
    return image
