"""Where the samples of one tar lie."""

import tarfile
from pathlib import Path
from typing import NamedTuple

SUFFIX_OF_ENCODING = {"jpeg": "jpg", "raw": "rgb"}


class TarSample(NamedTuple):
    """One sample: the image's bytes within the tar, and its label."""

    offset: int
    size_bytes: int
    label: int


class TarLayoutError(Exception):
    """A tar does not hold KEY.cls and KEY.jpg (or KEY.rgb) in turn."""


def read_tar_index(path: Path, suffix: str) -> list[TarSample]:
    """List a tar's samples in order, from its headers and labels. Raises TarLayoutError."""
    samples: list[TarSample] = []
    try:
        with tarfile.open(path, "r:") as tar:
            members = iter(tar)
            for cls in members:
                image = next(members, None)
                key = cls.name.removesuffix(".cls")
                if image is None or image.name != f"{key}.{suffix}" or cls.name != f"{key}.cls":
                    raise TarLayoutError(f"{cls.name} is not followed by its image")
                for member in (cls, image):
                    # A link's bytes lie elsewhere, a sparse file's not as they are read.
                    if not member.isreg() or member.issparse():
                        raise TarLayoutError(f"{member.name} is no regular file")
                content = tar.extractfile(cls)
                assert content is not None, "a regular file has content"
                samples.append(TarSample(image.offset_data, image.size, int(content.read(20))))
    except (tarfile.TarError, ValueError, OSError) as error:
        raise TarLayoutError(str(error)) from error
    return samples
