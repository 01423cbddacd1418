"""Reading images that lie in larger files, where they lie."""

from dataclasses import dataclass
from functools import cached_property

from data_shards.errors import SourceError
from data_shards.sources.source import Extent, Reference
from data_shards.storage.folder import Folder, open_folder


@dataclass(frozen=True)
class ExtentReader:
    """Reads ranges of bytes of the files in a folder, on disk or in an object store."""

    location: str

    @cached_property
    def _folder(self) -> Folder:
        return open_folder(self.location)

    def __getstate__(self) -> dict[str, str]:
        """Leave the folder behind: each process opens its own, with connections of its own."""
        return {"location": self.location}

    def read(self, reference: Reference) -> bytes:
        """Return an image's bytes."""
        assert isinstance(reference, Extent), "as the source listed it"
        try:
            return self._folder.read_range(reference.file, reference.offset, reference.size_bytes)
        except FileNotFoundError:
            raise SourceError(
                f"{self._folder.at(reference.file)} is gone; put it back as it was listed"
            ) from None
