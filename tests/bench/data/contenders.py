"""Who takes part, and with what arguments."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.data import sets
from tests.bench.data.contender import Contender
from tests.bench.data.environments import DALI, FFCV, UnavailableError, python_of

BATCH, CROP = 128, 224
# A turn of a few seconds.
_MOST_PACKED = 8192

OURS = Path(sys.executable)


@dataclass(frozen=True)
class Absent:
    """A contender that does not take part, and why."""

    name: str
    reason: str


def field_of(images: Path, num_images: int, work: Path, processes: int) -> "Field":
    """Repeat the photographs of a folder or tar for all contenders."""
    return Field(
        photographs=sets.repeated(images, num_images, work),
        packed=sets.repeated(images, min(num_images, _MOST_PACKED), work),
        work=work,
        processes=processes,
    )


@dataclass(frozen=True)
class Field:
    """What all contenders are given."""

    photographs: sets.Photographs
    packed: sets.Photographs
    """What is packed: fewer, as evenly of all the photographs."""
    work: Path
    """Where sets and environments lie."""
    processes: int

    def jpeg(self) -> Iterator[Contender | Absent]:
        """Yield those that read JPEGs."""
        packed = sets.shards(self.photographs, "jpeg", self.work)
        shards = sets.shard_paths(packed)
        for name, dtype in (("webdataset PIL", "float32"), ("webdataset uint8", "uint8")):
            yield self._ours(name, "webdataset_loader", BATCH, CROP, self.processes, dtype, *shards)
        yield self._dali(shards)
        yield from self._ffcv("jpeg", {"FFCV jpeg": "random", "FFCV jpeg centre": "centre"})
        yield self._ours("decode alone", "decode_alone", BATCH, sets.SIZE, self.processes, *shards)
        outputs = {"ours jpeg": "uint8", "ours float32": "float32", "ours colour": "colour"}
        for name, output in outputs.items():
            yield self.reader(name, packed, self.processes, output)

    def raw(self) -> Iterator[Contender | Absent]:
        """Yield those that read pixels."""
        packed = sets.shards(self.photographs, "raw", self.work)
        yield from self._ffcv("raw", {"FFCV raw": "random", "FFCV raw centre": "centre"})
        yield self.reader("ours raw", packed, self.processes, "uint8")
        yield self.reader("ours raw centre", packed, self.processes, "centre")

    def packing(self) -> Iterator[Contender | Absent]:
        """Yield those that pack photographs."""
        how = sets.SIZE, sets.QUALITY, self.processes, self.packed.folder
        for name, module in (("PIL packing", "pil_packer"), ("ours packing", "our_packer")):
            yield self._ours(name, module, *how, self.work / module)

    def reader(self, name: str, packed: Path, processes: int, output: str) -> Contender:
        """Return our reader of packed shards with so many loaders."""
        return self._ours(name, "our_reader", BATCH, CROP, processes, output, packed)

    def _ours(self, name: str, module: str, *arguments: object) -> Contender:
        """Return one that runs in this environment."""
        return Contender(
            name=name, python=OURS, module=module, arguments=tuple(map(str, arguments))
        )

    def _dali(self, shards: list[str]) -> Contender | Absent:
        try:
            python = python_of(DALI, self.work)
        except UnavailableError as error:
            return Absent("DALI", str(error))
        arguments = (BATCH, CROP, self.processes, self.photographs.num_images)
        return Contender(
            name="DALI",
            python=python,
            module="dali_loader",
            arguments=(*map(str, arguments), *shards),
        )

    def _ffcv(self, encoding: sets.Encoding, crops: dict[str, str]) -> Iterator[Contender | Absent]:
        try:
            python = python_of(FFCV, self.work)
            raw = sets.shards(self.photographs, "raw", self.work)
            beton = sets.beton(python, raw, encoding)
        except UnavailableError as error:
            yield from (Absent(name, str(error)) for name in crops)
            return
        except subprocess.CalledProcessError as error:
            reason = f"writing its file ended with {error.returncode}; the reason is above"
            yield from (Absent(name, reason) for name in crops)
            return
        for name, crop in crops.items():
            arguments = (BATCH, CROP, sets.SIZE, self.processes, crop, beton)
            yield Contender(
                name=name,
                python=python,
                module="ffcv_loader",
                arguments=tuple(map(str, arguments)),
            )
