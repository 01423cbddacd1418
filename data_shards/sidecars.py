"""The files beside the shards: the index and the mean image, npy without pickle."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_shards.errors import ShardError
from data_shards.index import map_index
from data_shards.manifest import Manifest, SidecarEntry
from data_shards.order import Int64s

INDEX_NAME = "index.npy"
MEAN_IMAGE_NAME = "mean_image.npy"


def save_sidecar(folder: Path, name: str, array: npt.NDArray[np.generic]) -> SidecarEntry:
    """Write an array as npy and describe the file."""
    path = folder / name
    np.save(path, array, allow_pickle=False)
    return SidecarEntry(name=name, size_bytes=path.stat().st_size, sha256=file_sha256(path))


def load_index(folder: Path, manifest: Manifest) -> Int64s:
    """Map the index, int64 (num_samples, 4): shard, byte offset, byte size, label.

    Raises ShardError if the file is not the one the manifest describes.
    """
    path = _checked(folder, manifest.index)
    index = map_index(path)
    if index.shape != (manifest.num_samples, 4) or index.dtype != np.int64:
        raise ShardError(manifest.index.name, f"holds {index.dtype} {index.shape}")
    return index


def load_mean_image(folder: Path, manifest: Manifest) -> npt.NDArray[np.float32]:
    """Read the mean image, float32 (image_size, image_size, 3), RGB on 0-255 (paper section 2).

    Raises ShardError if the file is not the one the manifest describes.
    """
    path = _checked(folder, manifest.mean_image)
    mean = np.asarray(np.load(path, allow_pickle=False))
    shape = (manifest.image_size, manifest.image_size, 3)
    if mean.shape != shape or mean.dtype != np.float32:
        raise ShardError(manifest.mean_image.name, f"holds {mean.dtype} {mean.shape}")
    return mean


def file_sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(folder: Path, entry: SidecarEntry) -> Path:
    path = folder / entry.name
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ShardError(str(path), "is missing") from None
    if size != entry.size_bytes:
        raise ShardError(str(path), f"has {size} bytes where the manifest says {entry.size_bytes}")
    if file_sha256(path) != entry.sha256:
        raise ShardError(str(path), "does not have the manifest's sha256")
    return path
