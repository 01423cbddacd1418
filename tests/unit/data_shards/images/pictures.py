"""Made-up pictures, and files of them with the traps that real sets have."""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_shards.arrays import Pixels

ORIENTATION = 0x0112


def ramp(width: int, height: int) -> Pixels:
    """Red grows to the right, green downwards, both 0 to 255 over the picture; blue is 90."""
    x, y = (np.arange(width) + 0.5) / width * 255, (np.arange(height) + 0.5) / height * 255
    pixels = np.full((height, width, 3), 90.0)
    pixels[..., 0], pixels[..., 1] = x, y[:, None]
    return pixels.round().astype(np.uint8)


def file_of(image: Image.Image | npt.NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    """Return the bytes of a file; a JPEG keeps the colours well unless `options` say otherwise."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if kind == "JPEG":
        options = {"quality": 97, "subsampling": 0, **options}
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def lying(pixels: Pixels, orientation: int, kind: str = "JPEG", **options: Any) -> bytes:
    """Return a file of a picture that was stored otherwise, and the EXIF that says how."""
    # What undoes each of what EXIF's numbers ask for; 6 and 8 undo each other.
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = Image.fromarray(pixels)
    if orientation in undone:
        picture = picture.transpose(undone[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return file_of(picture, kind, exif=exif, **options)


def cmyk_jpeg(pixels: Pixels) -> bytes:
    """Return a JPEG in printing colours without black, stored inverted, as Adobe does."""
    height, width, _ = pixels.shape
    inks = np.zeros((height, width, 4), np.uint8)
    inks[..., :3] = 255 - pixels
    return file_of(Image.fromarray(inks, "CMYK"))


def ycck_jpeg(pixels: Pixels) -> bytes:
    """Return the same with the three inks turned into brightness and colour, as Adobe does too."""
    height, width, _ = pixels.shape
    planes = np.zeros((height, width, 4), np.uint8)
    # Of the inverted inks, once more inverted: of the inks. Pillow inverts what it stores as CMYK.
    inks = Image.fromarray(255 - pixels)
    planes[..., :3] = 255 - np.asarray(inks.convert("YCbCr"))
    data = bytearray(file_of(Image.fromarray(planes, "CMYK")))
    adobe = data.index(b"Adobe")
    # Marker's end: Adobe, version (2), flags (2 and 2), transform.
    assert data[adobe + 11] == 0
    data[adobe + 11] = 2
    return bytes(data)


def with_bytes_between(jpeg: bytes) -> bytes:
    """Return a JPEG with bytes before its end that libjpeg warns of, as some cameras write them."""
    end = b"\xff\xd9"
    assert jpeg.endswith(end)
    return jpeg.removesuffix(end) + b"\x12" * 100 + end
