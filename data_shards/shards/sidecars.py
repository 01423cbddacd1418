"""The files beside the shards: the index and the mean image, npy without pickle."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Int64s
from data_shards.durable import sync_file
from data_shards.errors import ShardError
from data_shards.manifest import Manifest, SidecarEntry
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE, TAR_BLOCK, map_index_file
from data_shards.storage.set_files import files_at, open_right

INDEX_NAME = "index.npy"
MEAN_IMAGE_NAME = "mean_image.npy"


def save_sidecar(folder: Path, name: str, array: npt.NDArray[np.generic]) -> SidecarEntry:
    """Write an array as npy, force it to disk, and describe the file."""
    path = folder / name
    np.save(path, array, allow_pickle=False)
    sync_file(path)
    return SidecarEntry(name=name, size_bytes=path.stat().st_size, sha256=file_sha256(path))


def load_index(location: str | Path, manifest: Manifest) -> Int64s:
    """Map the index, int64 (num_samples, 4): shard, byte offset, byte size, label.

    `location` is the folder or URL they lie in. Raises ShardError if the file is not the one the
    manifest describes, or speaks of samples
    that its shards and classes cannot have.
    """
    files = files_at(location)
    shown = files.at(manifest.index.name)
    try:
        with open_right(files, manifest.index) as file:
            index = map_index_file(file)
    except (ValueError, EOFError) as error:
        raise ShardError(shown, f"is no npy file ({error})") from error
    if index.shape != (manifest.num_samples, 4) or index.dtype != np.int64:
        raise ShardError(shown, f"holds {index.dtype} {index.shape}")
    if problem := _index_problem(index, manifest):
        raise ShardError(shown, problem)
    return index


def load_mean_image(location: str | Path, manifest: Manifest) -> npt.NDArray[np.float32]:
    """Read the mean image, float32 (image_size, image_size, 3), RGB on 0-255 (paper section 2).

    Raises ShardError if the file is not the one the manifest describes.
    """
    files = files_at(location)
    shown = files.at(manifest.mean_image.name)
    try:
        with open_right(files, manifest.mean_image) as file:
            mean = np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ShardError(shown, f"is no npy file ({error})") from error
    shape = (manifest.image_size, manifest.image_size, 3)
    if mean.shape != shape or mean.dtype != np.float32:
        raise ShardError(shown, f"holds {mean.dtype} {mean.shape}")
    return mean


def file_sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _index_problem(index: Int64s, manifest: Manifest) -> str | None:
    """Return what makes an index, int64 (num_samples, 4), unusable; None if nothing does."""
    counts = [shard.num_samples for shard in manifest.shards]
    if not np.array_equal(index[:, SHARD], np.repeat(np.arange(len(counts)), counts)):
        return "does not count the shards' samples as the manifest does"
    outside = (index[:, LABEL] < 0) | (index[:, LABEL] >= len(manifest.classes))
    if outside.any():
        shard, _, _, label = index[outside.argmax()].tolist()
        name = manifest.shards[shard].name
        return f"has the label {label} in {name}, outside the {len(manifest.classes)} classes"
    ends = np.array([shard.size_bytes for shard in manifest.shards])[index[:, SHARD]]
    # Compared so that no sum can overflow. A tar's member begins with a header.
    offsets, sizes = index[:, OFFSET], index[:, SIZE]
    beyond = (offsets < TAR_BLOCK) | (offsets > ends) | (sizes < 0) | (sizes > ends - offsets)
    if beyond.any():
        name = manifest.shards[int(index[beyond.argmax(), SHARD])].name
        return f"has a sample that lies outside {name}"
    return None
