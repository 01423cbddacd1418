"""Archives that images come in: listed where they lie; decompressed first if need be."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

from data_shards.errors import SourceError
from data_shards.shards.tar_index import TarLayoutError, TarMember, walk_tar
from data_shards.sources.source import OnProgress
from data_shards.storage.folder import Folder
from data_shards.storage.local_folder import LocalFolder

_CHUNK_BYTES = 1 << 20
# Members between two words of how far a listing is.
_TOLD_EACH = 1000
# Assumed: what images can be compressed by at most. Zeros, of which bombs are made, by 1,000.
_MAX_RATIO = 100
# So small that any ratio will do.
_MIN_CAP_BYTES = 64 << 20

# Endings of names and what opens such a file.
_OPENERS: dict[str, Callable[[BinaryIO], BufferedIOBase]] = {
    ".tar.gz": lambda file: gzip.GzipFile(fileobj=file),
    ".tgz": lambda file: gzip.GzipFile(fileobj=file),
    ".tar.bz2": bz2.BZ2File,
    ".tbz2": bz2.BZ2File,
    ".tar.xz": lzma.LZMAFile,
    ".txz": lzma.LZMAFile,
}
_COMPRESSED = (*_OPENERS, ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")


def is_archive(name: str) -> bool:
    """Tell a tar, compressed or not, by its name."""
    return name.lower().endswith((".tar", *_COMPRESSED))


def is_compressed(name: str) -> bool:
    """Tell a compressed tar by its name."""
    return name.lower().endswith(_COMPRESSED)


@contextmanager
def opened_tar(folder: Folder, name: str) -> Iterator[BinaryIO]:
    """Open a file of a folder as a tar; what is wrong with it is a SourceError that names it."""
    with _named(folder.at(name)), folder.open(name) as file:
        yield file


def tar_size(folder: Folder, name: str) -> int:
    """Return the size of a tar in bytes. Raises SourceError."""
    with _named(folder.at(name)):
        return folder.size(name)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{where} does not exist; check its name") from None
    except TarLayoutError as error:
        raise SourceError(
            f"{where}: {error}; fetch it again, or make it anew of plain files"
        ) from error
    except OSError as error:
        raise SourceError(
            f"{where} cannot be read: {error.strerror or error}; mend that, or fetch it again"
        ) from error


def list_tar(folder: Folder, name: str, on_progress: OnProgress) -> list[TarMember]:
    """List the files of a tar in its order. Raises SourceError."""
    members = []
    with opened_tar(folder, name) as file:
        size = folder.size(name)
        for member in walk_tar(file):
            members.append(member)
            if len(members) % _TOLD_EACH == 0:
                on_progress(member.offset, size)
    return members


def decompress(folder: Folder, name: str, scratch: Path, on_progress: OnProgress) -> LocalFolder:
    """Write a compressed tar as a plain one, of the same name, into the folder `scratch`.

    What is compressed cannot be read from the middle. Raises SourceError.
    """
    where = folder.at(name)
    opener = next((each for end, each in _OPENERS.items() if name.lower().endswith(end)), None)
    if opener is None:
        raise SourceError(f"{where} is compressed in a way not known here; decompress it first")
    target = scratch / name
    try:
        size = folder.size(name)
        cap = max(size * _MAX_RATIO, _MIN_CAP_BYTES)
        with folder.open(name) as packed, opener(packed) as plain, target.open("wb") as out:
            while chunk := plain.read(_CHUNK_BYTES):
                out.write(chunk)
                if out.tell() > cap:
                    raise SourceError(
                        f"{where} holds more than {_MAX_RATIO} times its own size, as no images "
                        "do; if it is to be trusted, decompress it and pack what is in it"
                    )
                on_progress(packed.tell(), size)
    except FileNotFoundError:
        raise SourceError(f"{where} does not exist; check its name") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise SourceError(f"{where} cannot be decompressed: {error}; fetch it again") from error
    except OSError as error:
        raise SourceError(
            f"{where} cannot be decompressed into {scratch}: {error.strerror or error}; make room "
            "there, or decompress it yourself and pack what is in it"
        ) from error
    return LocalFolder(scratch)
