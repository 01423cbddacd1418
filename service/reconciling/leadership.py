"""Who may write: one control plane a store, told by a lock on a file beside it."""

from pathlib import Path

from service.file_lock import FileLock


class Leadership(FileLock):
    """The lock of one store, by whichever name it is reached."""

    def __init__(self, store_path: Path, *, url: str) -> None:
        store = store_path.resolve()
        super().__init__(store.with_name(store.name + ".leader"), url=url)
