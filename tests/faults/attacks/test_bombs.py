"""Archives and images that mean to break whoever reads them, packed as a user would pack them."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_shards.manifest import load_manifest
from tests.faults.attacks.targets import ATTACK
from tests.faults.attacks.unguarded_data import turned_off
from tests.faults.trials import Trial, Trials
from tests.unit.data_shards.feeding.test_decode import JPEG, claiming, png_claiming
from tests.unit.data_shards.inspection.foreign_tars import Members, picture, write_tar

TARS = "tar members that are links, devices, .."
BOMBS = "a tar bomb, a pixel bomb, not-a-JPEG named .jpg"
SPARE_BYTES = 64 << 20
GOOD = picture(0)


@dataclass(frozen=True)
class Done:
    """What became of a command."""

    status: int
    output: str
    peak_bytes: int


Settings = Mapping[str, str]
GUARDED: Settings = {}


def command(*arguments: object, settings: Settings = GUARDED) -> Done:
    """Run one of the data's commands to its end, and measure it."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "data_shards", *map(str, arguments)],
            env={**os.environ, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode()
    return Done(process.returncode, said, usage.ru_maxrss << 10)


def pack(source: Path, out: Path, *, settings: Settings = GUARDED) -> Done:
    """Pack whatever it is into squares of 72 pixels, in one process."""
    scratch = out.with_name("scratch")
    scratch.mkdir(exist_ok=True)
    options = ("--split", "train", "--size", 72, "--processes", 1, "--scratch", scratch)
    return command("pack", source, out, *options, settings=settings)


# Tars


def odd(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """Return a member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


ODD: Mapping[str, Members] = {
    "a symbolic link": [(odd("cat/b.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "a link to a folder, and a file below it": [
        (odd("cat", tarfile.SYMTYPE, "/tmp"), b""),
        ("cat/evil.jpg", GOOD),
    ],
    "a hard link": [(odd("cat/b.jpg", tarfile.LNKTYPE, "/etc/shadow"), b"")],
    "a device": [(odd("cat/b.jpg", tarfile.CHRTYPE), b"")],
    "a block device": [(odd("cat/b.jpg", tarfile.BLKTYPE), b"")],
    "a pipe": [(odd("cat/b.jpg", tarfile.FIFOTYPE), b"")],
    "dots": [("../../evil/b.jpg", GOOD)],
    "dots within": [("cat/../../b.jpg", GOOD)],
    "an absolute path": [("/tmp/evil/b.jpg", GOOD)],
    "a control character": [("cat/\x1b[2J.jpg", GOOD)],
    "a turned name": [("cat/\u202egpj.exe.jpg", GOOD)],
}


def read_tar(trial: Trial, folder: Path, what: str, *, settings: Settings = GUARDED) -> None:
    """Pack a tar, and index it where it lies."""
    folder.mkdir()
    tar = folder / "evil.tar"
    write_tar(tar, [("cat/a.jpg", GOOD), ("cat/a.cls", b"0"), *ODD[what]])
    before = {*folder.parent.iterdir(), *Path("/tmp").glob("evil*")}
    packed = pack(tar, folder / "out", settings=settings)
    indexed = command("index", folder, "--split", "train", settings=settings)
    for done in (packed, indexed):
        refused = done.status == 1 and "evil.tar" in done.output
        trial.must(refused, "A", f"{what}: {done.status} {done.output[-500:]}")
        trial.must("Traceback" not in done.output, "A", f"{what}: {done.output[-2000:]}")
        trial.must("\x1b[2J" not in done.output, "A", f"{what}: it is printed as it is")
    after = {*folder.parent.iterdir(), *Path("/tmp").glob("evil*")}
    trial.must(after == before, "A", f"{what}: {after - before} is left outside")
    trial.must(not (folder / "out" / "manifest.json").exists(), "A", f"{what}: it was packed")


@pytest.mark.parametrize("what", ODD)
def test_a_tar_with_what_no_tar_of_images_has_is_refused(
    faults: Trials, tmp_path: Path, what: str
) -> None:
    with faults.trial(ATTACK, TARS) as trial:
        read_tar(trial, tmp_path / "tar", what)


def test_a_reader_that_takes_any_tar_is_noticed(faults: Trials, tmp_path: Path) -> None:
    with faults.unguarded(ATTACK, TARS) as trial:
        read_tar(trial, tmp_path / "tar", "dots", settings=turned_off(tmp_path / "site"))


# Bombs


def zeros_in_tar(path: Path, size_bytes: int) -> None:
    """Write a compressed tar of an image, and of a file of zeros."""
    with (
        gzip.open(path, "wb", compresslevel=6) as file,
        tarfile.open(fileobj=file, mode="w|") as tar,
    ):
        info = tarfile.TarInfo("cat/a.jpg")
        info.size = len(GOOD)
        tar.addfile(info, io.BytesIO(GOOD))
        info = tarfile.TarInfo("cat/zeros.jpg")
        info.size = size_bytes
        with Path("/dev/zero").open("rb") as zeros:
            tar.addfile(info, zeros)


def unpack_bomb(trial: Trial, folder: Path, *, settings: Settings = GUARDED) -> None:
    """Pack a compressed tar that holds 500 times its size."""
    folder.mkdir()
    bomb = folder / "bomb.tar.gz"
    zeros_in_tar(bomb, 300 << 20)
    done = pack(bomb, folder / "out", settings=settings)
    refused = done.status == 1 and "times its own size" in done.output
    trial.must(refused, "A", f"{done.status} {done.output[-500:]}")
    left = sum(file.stat().st_size for file in (folder / "scratch").rglob("*") if file.is_file())
    trial.must(left == 0, "A", f"{left} bytes are left of it")


def test_a_tar_bomb_is_not_unpacked(faults: Trials, tmp_path: Path) -> None:
    with faults.trial(ATTACK, BOMBS) as trial:
        unpack_bomb(trial, tmp_path / "bomb")


def test_a_reader_that_unpacks_anything_is_noticed(faults: Trials, tmp_path: Path) -> None:
    with faults.unguarded(ATTACK, BOMBS) as trial:
        unpack_bomb(trial, tmp_path / "bomb", settings=turned_off(tmp_path / "site"))


def grey_png(width: int, height: int) -> bytes:
    """Make a PNG that is what it claims to be: black."""
    packing = zlib.compressobj(1)
    row = bytes(1 + width)
    rows = [packing.compress(row * 100) for _ in range(height // 100)]
    body = b"".join([*rows, packing.flush()])
    empty = png_claiming(width, height)
    start = empty.index(b"IHDR")
    # Eight bits of grey, in place of colours.
    head = empty[start : start + 13] + b"\x00" + empty[start + 14 : start + 17]
    chunks = [(b"IHDR", head[4:]), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big")
        + kind
        + content
        + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


def text_bomb() -> bytes:
    """Make a PNG whose comment unpacks to 200 MB."""
    from_header = png_claiming(4, 4)
    body = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body
    chunk += zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    return from_header[:33] + chunk + from_header[33:]


def not_images() -> dict[str, bytes]:
    """Return files that are named as images and are none, or are too large, by name."""
    return {
        "pixels.jpg": claiming(JPEG, 65_500, 65_500),
        "pixels.png": grey_png(12_000, 12_000),
        "more-pixels.png": png_claiming(2**31 - 1, 2**31 - 1),
        "text.png": text_bomb(),
        "program.jpg": b"#!/bin/sh\nid\n",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n(id) run\n",
        "page.jpg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "zip.jpg": b"PK\x03\x04" + bytes(100),
        "empty.jpg": b"",
        "torn.jpg": GOOD[: len(GOOD) // 2],
    }


def pack_not_images(
    trial: Trial, folder: Path, files: Mapping[str, bytes], *, settings: Settings = GUARDED
) -> None:
    """Pack them beside an image, and see what that takes beside packing the image alone."""
    for name, more in (("plain", {}), ("evil", files)):
        (folder / name / "cat").mkdir(parents=True)
        for file, content in {"good.jpg": GOOD, **more}.items():
            (folder / name / "cat" / file).write_bytes(content)
    plain = pack(folder / "plain", folder / "plain-out")
    assert plain.status == 0, plain.output
    done = pack(folder / "evil", folder / "evil-out", settings=settings)
    trial.must(done.status == 0, "A", f"one image is good: {done.output[-1000:]}")
    grown = done.peak_bytes - plain.peak_bytes
    trial.must(grown < SPARE_BYTES, "A", f"its memory grew by {grown >> 20} MiB")
    if done.status == 0:
        manifest = load_manifest(folder / "evil-out")
        skipped = sum(manifest.packing.skipped.values())
        left_out = (manifest.num_samples, skipped) == (1, len(files))
        trial.must(left_out, "A", f"{manifest.num_samples} packed, {manifest.packing.skipped}")


def test_what_is_no_image_or_too_large_is_left_out_and_takes_no_memory(
    faults: Trials, tmp_path: Path
) -> None:
    files = not_images()
    for name in ("pixels.png", "text.png"):
        with faults.trial(ATTACK, BOMBS) as trial:
            pack_not_images(trial, tmp_path / name, {name: files[name]})
    with faults.trial(ATTACK, BOMBS) as trial:
        pack_not_images(trial, tmp_path / "all", files)


def test_a_reader_that_decodes_anything_is_noticed(faults: Trials, tmp_path: Path) -> None:
    with faults.unguarded(ATTACK, BOMBS) as trial:
        files = {"pixels.png": not_images()["pixels.png"]}
        pack_not_images(trial, tmp_path / "decoded", files, settings=turned_off(tmp_path / "site"))
