"""What lies in tars that were packed here."""

import tarfile
from pathlib import Path

from data_shards.shards.tar_index import TarSample, samples_of_tar


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Read a regular member."""
    file = tar.extractfile(member)
    assert file is not None, f"{member.name} is no file"
    return file.read()


def samples_in(path: Path, suffix: str = "jpg") -> list[TarSample]:
    """List the samples of the tar in a file."""
    with path.open("rb") as file:
        return samples_of_tar(file, suffix)
