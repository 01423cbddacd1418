"""The same photographs for all: shards in both encodings, FFCV's files in both, made once."""

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Literal

from data_shards.manifest import load_manifest

SIZE = 256
QUALITY = 92
# Twice what a reader of 8 streams with a window of 4 has open at once.
NUM_SHARDS = 64

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
    # Other images of the same name lie elsewhere.
    name = f"{images.stem}-{sha256(str(images.resolve()).encode()).hexdigest()[:8]}"
    out = work / f"{name}-{num_images}"
    if out.exists():
        return Photographs(out, num_images)
    originals = images if images.is_dir() else _extracted(images, work / name)
    paths = sorted(path for path in originals.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        sys.exit(f"{images} holds no photographs ({', '.join(_SUFFIXES)})")
    growing = out.with_name(f"{out.name}.growing")
    each_round = ((number, path) for number in count() for path in paths)
    for number, path in islice(each_round, num_images):
        link = growing / path.parent.name / f"{path.stem}-{number}{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    growing.rename(out)
    return Photographs(out, num_images)


def shards(photographs: Photographs, encoding: Encoding, work: Path) -> Path:
    """Return the folder of these photographs' shards, packed if they are not."""
    out = work / f"{photographs.folder.name}-{encoding}"
    command = [sys.executable, "-m", "data_shards", "pack", str(photographs.folder), str(out)]
    command += ["--split", "train", "--encoding", encoding, "--json"]
    command += ["--size", str(SIZE), "--quality", str(QUALITY)]
    command += ["--samples-per-shard", str(-(-photographs.num_images // NUM_SHARDS))]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        # What lies there was asked for otherwise, by an older version of the packer.
        command.append("--force")
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            sys.exit(f"{photographs.folder} cannot be packed into {out}; the reason is above")
    return out


def shard_paths(folder: Path) -> list[str]:
    """Return the shards of a packed folder, in order."""
    return [str(folder / shard.name) for shard in load_manifest(folder).shards]


def beton(python: Path, raw: Path, encoding: Encoding) -> Path:
    """Return FFCV's file of the pixels in raw shards. Raises CalledProcessError."""
    out = raw.with_name(f"{raw.name}-{_FFCV_MODES[encoding]}.beton")
    if not out.exists():
        command = [str(python), "-m", "tests.bench.data.ffcv_write", _FFCV_MODES[encoding]]
        command += [str(SIZE), str(QUALITY), str(out), *shard_paths(raw)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def _extracted(tar_path: Path, out: Path) -> Path:
    if not out.exists():
        growing = out.with_name(f"{out.name}.growing")
        with tarfile.open(tar_path) as tar:
            tar.extractall(growing, filter="data")
        growing.rename(out)
    return out
