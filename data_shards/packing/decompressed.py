"""A folder of this machine for archives that must be decompressed to be read."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.packing.folder_lock import ORPHANS_END_S, locked
from data_shards.packing.shortage import writing
from data_shards.storage.location import is_url
from data_shards.user_cache import cache_folder


@contextmanager
def folder_for_decompressed(
    source: str, out: str, scratch: Path | None, *, wait_s: float = ORPHANS_END_S
) -> Iterator[Path]:
    """Hold a folder while `source` is packed into `out`: empty at first, and gone afterwards.

    It lies in `scratch`, by default in the user's cache. Raises PackError if it cannot be written,
    or another process of this machine packs the same.
    """
    # Known by both, so that the next run finds what a killed one left.
    both = "\0".join(each if is_url(each) else str(Path(each).resolve()) for each in (source, out))
    name = f"from-{hashlib.sha256(both.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    folder = (scratch or cache_folder("decompressed")) / name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, out, wait_s=wait_s):
        try:
            with writing(folder):
                # The folder itself is what is locked.
                for path in folder.iterdir():
                    path.unlink()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
