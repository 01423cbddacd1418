"""A packed set wherever it lies, opened to be looked at."""

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Int64s
from data_shards.errors import ShardError
from data_shards.manifest import MANIFEST_NAME, Manifest, ManifestError, SidecarEntry
from data_shards.packing.begun import BEGUN_NAME, WORK_NAME
from data_shards.shards.sidecars import load_index, load_mean_image
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.local_folder import LocalFolder
from data_shards.storage.manifests import read_manifest, set_location


@dataclass(frozen=True)
class OpenedSet:
    """A manifest, and the folder that its files lie in."""

    folder: Folder
    manifest: Manifest

    def index(self) -> Int64s:
        """Return the index, int64 (num_samples, 4), checked. Raises ShardError."""
        with self._on_disk(self.manifest.index) as path:
            return load_index(path, self.manifest)

    def mean_image(self) -> npt.NDArray[np.float32]:
        """Return the mean image, float32 (image_size, image_size, 3). Raises ShardError."""
        with self._on_disk(self.manifest.mean_image) as path:
            return load_mean_image(path, self.manifest)

    @contextmanager
    def _on_disk(self, entry: SidecarEntry) -> Iterator[Path]:
        """Yield a folder of this machine that holds a file beside the shards, if there is one.

        Never from this machine's cache of shards: what lies in the store is looked at.
        """
        if isinstance(self.folder, LocalFolder):
            yield self.folder.path
            return
        with tempfile.TemporaryDirectory(prefix="data_shards-") as name:
            # One that is missing, or too large, is told by the check of what lies here.
            with contextlib.suppress(FileNotFoundError):
                content = self.folder.read_range(
                    entry.name, 0, min(self.folder.size(entry.name), entry.size_bytes + 1)
                )
                (Path(name) / entry.name).write_bytes(content)
            try:
                yield Path(name)
            except ShardError as error:
                raise ShardError(self.folder.at(entry.name), error.problem) from error


def open_set(location: str) -> OpenedSet:
    """Open a set by the path or URL of its folder, or of the manifest.json in it.

    Raises ManifestError, or StorageError.
    """
    try:
        manifest = read_manifest(location)
    except ManifestError:
        if _is_being_packed(location):
            raise ManifestError(
                f"{location} is not packed to its end; wait for it, or pack by the same command, "
                "which goes on where it stopped"
            ) from None
        raise
    return OpenedSet(open_folder(set_location(location)), manifest)


def _is_being_packed(location: str) -> bool:
    """Tell whether a folder has no manifest yet, but what a packing writes down as it begins."""
    folder = open_folder(set_location(location))
    return not folder.exists(MANIFEST_NAME) and folder.exists(f"{WORK_NAME}/{BEGUN_NAME}")
