"""What a machine may lack as it packs, in words for people."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.errors import PackError, UnwritableError, WorkerDiedError

_LESS_MEMORY = "use fewer --processes or a smaller --size"


@contextmanager
def writing(where: str | Path) -> Iterator[None]:
    """Say what keeps a file or folder from being written, as a PackError."""
    try:
        yield
    except OSError as error:
        path, reason = str(error.filename or where), error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise _too_many_files() from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise PackError(
                f"{path} is a file, where a folder must be; choose another folder"
            ) from error
        if isinstance(error, IsADirectoryError):
            raise PackError(
                f"{path} is a folder, where a file must be; choose another folder"
            ) from error
        raise UnwritableError(path, reason) from error


@contextmanager
def sharing_the_machine() -> Iterator[None]:
    """Say that there are too many packers for the machine, where that may be what is wrong."""
    try:
        yield
    except MemoryError:
        raise PackError(f"there is not enough memory; {_LESS_MEMORY}") from None
    except WorkerDiedError as error:
        if error.exit_code == -signal.SIGKILL:
            error.add_note(f"Where the machine had no memory left: {_LESS_MEMORY}")
        raise
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise _too_many_files() from error
        raise


def _too_many_files() -> PackError:
    return PackError(
        "this machine allows no more files to be open at once; use fewer --processes, or raise "
        "the limit (ulimit -n)"
    )
