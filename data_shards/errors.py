"""What can go wrong with data, in words for people. All errors of this package are DataError."""

import signal


class DataError(Exception):
    """Images, shards, a manifest or where they lie are not as they must be.

    Another try would end the same, but for StorageError: what keeps it from them may be mended.
    """


class SourceError(DataError):
    """The images to pack are not there, or not in a layout we know."""


class FetchError(DataError):
    """A public data set could not be obtained; the message tells each way that was tried."""


class PackError(DataError):
    """The target folder cannot be packed into."""


class UnwritableError(PackError):
    """A file or folder of the target cannot be written: no room, no right."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)

    def __str__(self) -> str:
        path, reason = self.args
        return (
            f"{path} cannot be written: {reason}; make room or ask for the right to write there, "
            "or pack into another folder"
        )


class StorageError(DataError):
    """A file or object cannot be read or written."""

    def __init__(self, location: str, problem: str, mend: str) -> None:
        super().__init__(location, problem, mend)
        self.problem = problem

    def __str__(self) -> str:
        location, problem, mend = self.args
        return f"{location} {problem}; {mend}"


class StorageDownError(StorageError):
    """An object store, or the disk of the shard cache, fails for now; it may well answer later."""


class StorageDeniedError(StorageError):
    """An object store does not let in who asks: wrong credentials, or ones with too few rights."""


class ScratchError(DataError):
    """What must be kept on this machine for a while cannot be."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)

    def __str__(self) -> str:
        folder, reason = self.args
        return (
            f"{folder} cannot hold what is read meanwhile: {reason}; make room, name another "
            "folder as TMPDIR, or use fewer --processes"
        )


class ForeignSetError(DataError):
    """Tars that were packed elsewhere cannot be indexed as they are."""


class PlanError(DataError):
    """What the reader was asked for does not fit the shards."""


class ShardError(DataError):
    """A file of a packed set is missing or not the one its manifest describes."""

    def __init__(self, shard: str, problem: str) -> None:
        super().__init__(shard, problem)
        self.shard = shard
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.shard}: {self.problem}; restore the file, or pack the images again"


class WorkerDiedError(Exception):
    """A worker process ended without being asked to; says how. Trying again may well help."""

    def __init__(self, pid: int, exit_code: int) -> None:
        """Take what ended it: an exit code, or the negative number of a signal."""
        super().__init__(pid, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        pid, code = self.args
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"worker process {pid} ended {how}"


class EndedError(Exception):
    """Something was asked of what its owner has ended: workers, a reader or its older batches."""


class WorkerFailedError(Exception):
    """A worker process met an error nobody foresaw; carries its traceback."""
