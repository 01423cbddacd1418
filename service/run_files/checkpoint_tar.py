"""A checkpoint as one tar, which a deletion under way does not cut short."""

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from service.run_files.confined import NoSuchFileError, open_file
from service.run_files.content import read_fully
from service.run_files.tar_layout import Member, TarLayout
from trainer.contract.checkpoint import (
    MANIFEST_NAME,
    VELOCITY_NAME,
    WEIGHTS_NAME,
    CheckpointManifest,
)

NAMES = (MANIFEST_NAME, WEIGHTS_NAME, VELOCITY_NAME)


class CheckpointTar:
    """STEP/checkpoint.json, STEP/model.safetensors and STEP/velocity.safetensors, in this order.

    All are open before the first byte is sent: a file that is deleted stays until it is closed.
    """

    def __init__(self, run: Path, folder: str) -> None:
        """Open the checkpoint of a folder, relative to the run directory.

        Raises NoSuchFileError where it is gone or not whole, or OSError.
        """
        with ExitStack() as stack:
            self._files = []
            for name in NAMES:
                file = open_file(run, f"{folder}/{name}")
                stack.callback(os.close, file)
                self._files.append(file)
            sizes = [os.fstat(file).st_size for file in self._files]
            manifest = read_fully(self._files[0], 0, sizes[0])
            if _sizes_of(manifest) != sizes[1:]:
                raise NoSuchFileError(folder)
            self._stack = stack.pop_all()
        top = PurePosixPath(folder).name
        self._layout = TarLayout(
            [Member(f"{top}/{name}", size) for name, size in zip(NAMES, sizes, strict=True)]
        )
        self.size_bytes = self._layout.size_bytes
        # The manifest has the digests of the other two.
        self.etag = f'"{hashlib.sha256(manifest).hexdigest()}"'

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of the tar."""
        return b"".join(
            part
            if isinstance(part, bytes)
            else read_fully(self._files[part.member], part.start, part.stop)
            for part in self._layout.between(start, stop)
        )

    def begins_with(self, etag: str) -> bool:
        """Say whether what had this tag is this tar."""
        return etag == self.etag

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


def _sizes_of(manifest: bytes) -> list[int] | None:
    try:
        files = CheckpointManifest.model_validate_json(manifest).files
        return [files[name].size_bytes for name in NAMES[1:]]
    except (ValidationError, KeyError):
        return None
