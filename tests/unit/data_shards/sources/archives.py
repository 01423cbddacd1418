"""Made-up archives."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of files by path, in this order."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files by path below a folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def jpeg(number: int, image_format: str = "JPEG", mode: str = "RGB") -> bytes:
    """Return a small image that differs from those of other numbers."""
    pixels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).resize((20, 16)).save(content, image_format)
    return content.getvalue()
