"""Reading a whole shard once, wherever it lies, and then parts of it."""

import tempfile
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, cast

from data_shards.closing import Closing
from data_shards.errors import ScratchError
from data_shards.storage.folder import Folder
from data_shards.storage.local_folder import LocalFolder

_CHUNK_BYTES = 1 << 22


class DigestedShard(Closing):
    """A shard that is digested first; a remote one is kept on local disk meanwhile.

    Raises FileNotFoundError or StorageError when opened, OSError or StorageError while it is read,
    ScratchError where there is no room for a remote one.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._source = folder.open(name)
        self.file: BinaryIO = self._source
        """All of it, once it was digested; can seek."""
        self.size_bytes = 0
        self.sha256 = ""
        if not isinstance(folder, LocalFolder):
            # Without a name, so that nothing is left of it, however the process ends.
            self.file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed with the shard

    def close(self) -> None:
        """Close it; what was kept of a remote one is gone."""
        self._source.close()
        self.file.close()

    def digest(self) -> Iterator[int]:
        """Read all of it; yield how many bytes each piece had."""
        digest = sha256()
        while chunk := self._source.read(_CHUNK_BYTES):
            digest.update(chunk)
            if self.file is not self._source:
                self._keep(chunk)
            self.size_bytes += len(chunk)
            yield len(chunk)
        self.sha256 = digest.hexdigest()

    def _keep(self, chunk: bytes) -> None:
        try:
            self.file.write(chunk)
        except OSError as error:
            raise ScratchError(tempfile.gettempdir(), error.strerror or str(error)) from error

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`, fewer where it ends before."""
        self.file.seek(offset)
        return self.file.read(size)
