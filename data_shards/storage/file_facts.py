"""What is known of a file before it is read."""

from typing import Protocol


class FileFacts(Protocol):
    """What a manifest says of one of its files."""

    @property
    def name(self) -> str:
        """Plain file name."""
        ...

    @property
    def size_bytes(self) -> int:
        """Exact size."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of the content, hexadecimal."""
        ...
