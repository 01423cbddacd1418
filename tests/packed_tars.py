"""What lies in tars that were packed here."""

from pathlib import Path

from data_shards.shards.tar_index import TarSample, samples_of_tar


def samples_in(path: Path, suffix: str = "jpg") -> list[TarSample]:
    """List the samples of the tar in a file."""
    with path.open("rb") as file:
        return samples_of_tar(file, suffix)
