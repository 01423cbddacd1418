"""Makes tars as others pack them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

Members = list[tuple[str | tarfile.TarInfo, bytes]]


def write_tar(path: Path, members: Members) -> None:
    """Write a tar of files by name, or of whatever else a TarInfo tells."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)


def picture(number: int, size: tuple[int, int] = (48, 40), kind: str = "JPEG", **options) -> bytes:
    """Return an image file; every number's differs from every other."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    mode = options.pop("mode", "RGB")
    Image.fromarray(coarse).resize(size).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def sample(number: int, label: object, image: bytes | None = None, end: str = "jpg") -> Members:
    """Return a sample with its label in every place where it may be, behind the image."""
    image = picture(number) if image is None else image
    document = json.dumps({"label": label, "caption": "a picture"}).encode()
    return [(f"{number:04d}.{end}", image), (f"{number:04d}.json", document)]
