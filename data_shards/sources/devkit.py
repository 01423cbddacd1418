"""What ILSVRC2012's development kit tells: the thousand synsets, and the validation's labels."""

import gzip
import io
import zlib
from dataclasses import dataclass

from data_shards.errors import SourceError
from data_shards.shards.tar_index import TarLayoutError, walk_tar
from data_shards.sources.class_names import SYNSET
from data_shards.sources.matlab import read_structures
from data_shards.storage.folder import Folder

NAME = "ILSVRC2012_devkit_t12"
ARCHIVE = f"{NAME}.tar.gz"
_META = "data/meta.mat"
_GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
# The kit has 2.5 MB, of which its longest file is most (assumed: never ten times as much).
_MAX_BYTES = 32 << 20
_MAX_PLAIN_BYTES = 256 << 20


@dataclass(frozen=True)
class Devkit:
    """What the kit tells."""

    words: dict[str, str]
    """Synset -> its words, sorted by synset: the order of the labels."""
    validation_synsets: tuple[str, ...]
    """Of each validation image, by its number less one."""


def read_devkit(folder: Folder) -> Devkit | None:
    """Read the kit from a folder, packed or unpacked; None if it is not there.

    Raises SourceError if it is broken.
    """
    try:
        if folder.exists(ARCHIVE):
            where = folder.at(ARCHIVE)
            files = _unpacked(folder.read_bytes(ARCHIVE, _MAX_BYTES))
        elif folder.exists(f"{NAME}/{_META}"):
            where = folder.at(NAME)
            files = {
                name: folder.read_bytes(f"{NAME}/{name}", _MAX_BYTES)
                for name in (_META, _GROUND_TRUTH)
            }
        else:
            return None
        return _devkit(files[_META], files[_GROUND_TRUTH])
    except KeyError as error:
        problem = f"lacks {error.args[0]}"
    except FileNotFoundError as error:
        problem = f"lacks {error}"
    except (OSError, EOFError, zlib.error, TarLayoutError, SourceError, ValueError) as error:
        problem = f"is broken: {error}"
    raise SourceError(f"{where} {problem}; fetch it again")


def _unpacked(content: bytes) -> dict[str, bytes]:
    with gzip.open(io.BytesIO(content)) as packed:
        plain = packed.read(_MAX_PLAIN_BYTES)
    return {
        member.name.removeprefix(f"{NAME}/"): plain[member.offset :][: member.size_bytes]
        for member in walk_tar(io.BytesIO(plain))
        if member.name.endswith((_META, _GROUND_TRUTH))
    }


def _devkit(meta: bytes, ground_truth: bytes) -> Devkit:
    fields = ("ILSVRC2012_ID", "WNID", "words", "num_children")
    synset_of, words = {}, {}
    for number, synset, text, num_children in read_structures(meta, "synsets", fields):
        # The rest are what those thousand are kinds of: mammals, vehicles, ...
        if num_children != 0:
            continue
        if not SYNSET.fullmatch(str(synset)):
            raise SourceError(f"{_META} has the synset {str(synset)[:40]!r}")
        synset_of[number] = str(synset)
        words[str(synset)] = str(text)
    lines = ground_truth.decode("ascii").split()
    labelled = []
    for line, number in enumerate(map(int, lines), 1):
        if number not in synset_of:
            raise SourceError(f"line {line} of {_GROUND_TRUTH} is {number}, no synset's number")
        labelled.append(synset_of[number])
    return Devkit(dict(sorted(words.items())), tuple(labelled))
