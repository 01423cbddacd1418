"""The same photographs for all: shards in both encodings, FFCV's files in both, made once."""

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Literal

from data_shards.manifest import load_manifest

SIZE = 256
QUALITY = 92
NUM_SHARDS = 8

Encoding = Literal["jpeg", "raw"]
_FFCV_MODES = {"jpeg": "jpg", "raw": "raw"}
_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class Photographs:
    """A folder of a folder for each class, where each photograph has many names."""

    folder: Path
    num_images: int


def repeated(images: Path, num_images: int, work: Path) -> Photographs:
    """Give the photographs of a folder or tar so many names that they are `num_images`."""
    out = work / f"photographs-{num_images}"
    if out.exists():
        return Photographs(out, num_images)
    originals = images if images.is_dir() else _extracted(images, work / "originals")
    paths = sorted(path for path in originals.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        sys.exit(f"{images} holds no photographs ({', '.join(_SUFFIXES)})")
    growing = out.with_suffix(".growing")
    each_round = ((number, path) for number in count() for path in paths)
    for number, path in islice(each_round, num_images):
        link = growing / path.parent.name / f"{path.stem}-{number}{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    growing.rename(out)
    return Photographs(out, num_images)


def shards(photographs: Photographs, encoding: Encoding, work: Path) -> Path:
    """Return the folder of packed shards; each time at a name of its own request."""
    out = work / f"{encoding}-{photographs.num_images}"
    command = pack_command(photographs.folder, out, encoding=encoding)
    command += ["--samples-per-shard", str(-(-photographs.num_images // NUM_SHARDS))]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        # Packed by a version of the packer that asked otherwise.
        subprocess.run([*command, "--force"], check=True, stdout=subprocess.DEVNULL)
    return out


def pack_command(folder: Path, out: Path, *, encoding: Encoding) -> list[str]:
    """Return the command line of our packer."""
    command = [sys.executable, "-m", "data_shards", "pack", str(folder), str(out)]
    command += ["--split", "train", "--encoding", encoding, "--json"]
    return [*command, "--size", str(SIZE), "--quality", str(QUALITY)]


def shard_paths(folder: Path) -> list[str]:
    """Return the shards of a packed folder, in order."""
    return [str(folder / shard.name) for shard in load_manifest(folder).shards]


def beton(python: Path, raw: Path, encoding: Encoding) -> Path:
    """Return FFCV's file of the pixels in raw shards. Raises CalledProcessError."""
    out = raw.parent / f"{raw.name}-{_FFCV_MODES[encoding]}.beton"
    if not out.exists():
        command = [str(python), "-m", "tests.bench.data.ffcv_write", _FFCV_MODES[encoding]]
        command += [str(SIZE), str(QUALITY), str(out), *shard_paths(raw)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def _extracted(tar_path: Path, out: Path) -> Path:
    if not out.exists():
        growing = out.with_suffix(".growing")
        with tarfile.open(tar_path) as tar:
            tar.extractall(growing, filter="data")
        growing.rename(out)
    return out
