"""The kernel's pixels are simplejpeg's, bit for bit, or it leaves the image to it."""

import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards.images.encode import encode_jpeg
from data_shards.images.square import square_of
from data_shards.kernels import jpeg
from data_shards.kernels.build import processor_features
from data_shards.kernels.jpeg import decode_crops
from tests.compiler import has_compiler
from tests.packed_tars import content_of

needs_kernel = pytest.mark.skipif(
    not has_compiler() or "avx2" not in processor_features().split(),
    reason="the kernel needs g++ and a processor with AVX2",
)

HERE = Path(__file__).parent
PHOTOGRAPHS = Path(__file__).parents[5] / "shared" / "data" / "imagenet-125.tar"


def noise(random: np.random.Generator, size: int) -> np.ndarray:
    return random.integers(0, 256, (size, size, 3), dtype=np.uint8)


def black_and_white(random: np.random.Generator, size: int) -> np.ndarray:
    """The largest coefficients there are."""
    return random.integers(0, 2, (size, size, 3), dtype=np.uint8) * np.uint8(255)


def flat(random: np.random.Generator, size: int) -> np.ndarray:
    return np.full((size, size, 3), random.integers(0, 256, 3), dtype=np.uint8)


def soft(random: np.random.Generator, size: int) -> np.ndarray:
    """Like a photograph: smooth, with edges."""
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).copy()
    pixels[size // 3 : size // 2, size // 4 :] //= 3
    return pixels


MOTIFS: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    noise,
    black_and_white,
    flat,
    soft,
)


def picture(seed: int, size: int) -> np.ndarray:
    return MOTIFS[seed % len(MOTIFS)](np.random.default_rng(seed), size)


def written(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    """A JPEG as Pillow writes it."""
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def expected(data: bytes, size: int) -> np.ndarray | None:
    try:
        pixels = simplejpeg.decode_jpeg(data)
    except ValueError:
        return None
    return pixels if pixels.shape == (size, size, 3) else None


def check(images: Sequence[bytes], size: int, seed: int) -> list[bool]:
    """Decode random crops to random places; what is decoded must be right. Returns what is."""
    random = np.random.default_rng(seed)
    num_places = len(images) + 2
    edge = int(random.integers(1, size + 1))
    offsets = random.integers(0, size - edge + 1, (num_places, 2))
    mirrored = random.integers(0, 2, num_places) == 1
    places = random.permutation(num_places)[: len(images)].tolist()
    out = np.full((num_places, edge, edge, 3), 77, dtype=np.uint8)
    stored = {place: memoryview(image) for place, image in zip(places, images, strict=True)}
    done = decode_crops(stored, size, offsets, mirrored, out)
    for place in done:
        whole = expected(bytes(stored[place]), size)
        assert whole is not None, f"{place} is refused by simplejpeg"
        row, column = offsets[place]
        crop = whole[row : row + edge, column : column + edge]
        np.testing.assert_array_equal(out[place], crop[:, ::-1] if mirrored[place] else crop)
    assert (out[[place for place in range(num_places) if place not in stored]] == 77).all()
    return [place in done for place in places]


seeds = st.integers(0, 2**32 - 1)


@needs_kernel
@settings(max_examples=150, deadline=None)
@given(st.integers(6, 70), st.lists(st.integers(1, 100), max_size=5), seeds)
def test_whatever_we_encode_is_decoded_to_the_bits_of_simplejpeg(size, qualities, seed):
    images = [encode_jpeg(picture(seed + i, size), quality) for i, quality in enumerate(qualities)]
    assert all(check(images, size, seed))


@needs_kernel
def test_every_quality_of_every_motif():
    for seed in range(len(MOTIFS)):
        images = [encode_jpeg(picture(seed, 40), quality) for quality in range(1, 101)]
        assert all(check(images, 40, seed))


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(st.integers(6, 50), st.integers(1, 95), seeds, st.booleans(), st.booleans())
def test_tables_made_for_an_image_are_read(size, quality, seed, optimised, commented):
    options = {"optimize": optimised, **({"comment": b"\xff\xd9 here"} if commented else {})}
    images = [
        written(picture(seed + i, size), quality=quality, subsampling=2, **options)
        for i in range(4)
    ]
    # Pillow's tables of low qualities have values of 16 bits.
    assert all(check(images, size, seed)) or quality < 25


OTHERS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"subsampling": 2, "progressive": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
    "restarts of rows": {"subsampling": 2, "restart_marker_rows": 1},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "profile": {"subsampling": 2, "icc_profile": b"none at all"},
    "RGB": {"keep_rgb": True},
}


@needs_kernel
@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_kinds_are_left(options):
    assert check([written(picture(3, 32), **options)], 32, 0) == [False]


JPEG = encode_jpeg(picture(3, 32), 90)
SOS = JPEG.index(b"\xff\xda")


def replaced(at: int, new: bytes) -> bytes:
    return JPEG[:at] + new + JPEG[at + len(new) :]


def with_a_code_of_ones() -> bytes:
    """A table whose last code, of 9 bits, is followed by another."""
    at = JPEG.index(b"\xff\xc4")
    length = int.from_bytes(JPEG[at + 2 : at + 4], "big")
    table = bytearray(JPEG[at + 4 : at + 2 + length])
    assert table[9] == 1
    assert not any(table[10:17])
    table[9] = 2
    table.append(11)
    longer = (length + 1).to_bytes(2, "big")
    return JPEG[: at + 2] + longer + bytes(table) + JPEG[at + 2 + length :]


def with_a_code_that_is_none(place: int) -> bytes:
    """Flat units, coded by annex K; unit `place` begins with a bit that makes nine ones."""
    block, chroma = "00" + "1010", "00" + "00"
    unit = 4 * block + 2 * chroma
    # One more symbol, then the largest difference of DC behind what is none.
    first = "00" + "001" + "1010" + 3 * block + 2 * chroma
    largest = "1" + "111111110" + "10000000000" + "1010" + 3 * block + 2 * chroma
    bits = first + (place - 1) * unit + largest + (15 - place) * unit
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    flat_one = encode_jpeg(picture(2, 64), 100)
    return flat_one[: flat_one.index(b"\xff\xda") + 14] + scan + b"\xff\xd9"


BROKEN = {
    "nothing": b"",
    "one byte": b"\xff",
    "no JPEG": b"not an image at all",
    "only a start": JPEG[:2],
    "no scan": JPEG[:SOS] + b"\xff\xd9",
    "cut short": JPEG[:-20],
    "no end": JPEG[:-2],
    "bytes before the end": JPEG[:-2] + b"\x01\x02\xff\xd9",
    "a restart before the end": JPEG[:-2] + b"\xff\xd0\xff\xd9",
    "a comment after the scan": JPEG[:-2] + b"\xff\xfe\x00\x03!\xff\xd9",
    "a later JFIF": replaced(JPEG.index(b"JFIF") + 5, b"\x02"),
    "another size": encode_jpeg(picture(3, 48), 90),
    "12 bits": replaced(JPEG.index(b"\xff\xc0") + 4, b"\x0c"),
    "components of other names": replaced(JPEG.index(b"\xff\xc0") + 10, b"R"),
    "a table that is not there": replaced(SOS + 6, b"\x11\x02\x33"),
    "a spectral scan": replaced(SOS + 11, b"\x01"),
    "codes that are none": replaced(JPEG.index(b"\xff\xc4") + 5, b"\xff\xff\xff"),
    "a code of ones": with_a_code_of_ones(),
    "all ones": JPEG[: SOS + 14] + b"\xff\x00" * 3000 + b"\xff\xd9",
    "all zeros": JPEG[: SOS + 14] + b"\x00" * 3000 + b"\xff\xd9",
}


@needs_kernel
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_the_broken_and_the_odd_are_left(data):
    assert check([JPEG, data, JPEG], 32, 1) == [True, False, True]


@needs_kernel
@pytest.mark.parametrize("place", range(1, 16))
def test_a_code_that_is_none_is_noticed_wherever_it_is(place):
    assert check([with_a_code_that_is_none(place)], 64, 0) == [False]


@needs_kernel
def test_what_follows_the_end_is_ignored():
    assert check([JPEG + b"\xff\xd8 and more"], 32, 0) == [True]


@needs_kernel
def test_numbers_of_no_picture_are_left():
    """How libjpeg-turbo overflows depends on the processor."""
    coarse = bytearray(encode_jpeg(picture(1, 32), 100))
    for start in (at for at in range(len(coarse)) if coarse[at : at + 2] == b"\xff\xdb"):
        coarse[start + 5 : start + 5 + 64] = b"\xff" * 64
    assert check([bytes(coarse)], 32, 0) == [False]


def mutated(random: np.random.Generator, size: int) -> bytes:
    """A JPEG after one of the things that happen to files, or that are done to them."""
    pixels = picture(int(random.integers(0, 1000)), size)
    quality = int(random.integers(1, 101))
    options = list(OTHERS.values())[random.integers(0, len(OTHERS))]
    sources = (
        lambda: encode_jpeg(pixels, quality),
        lambda: written(pixels, quality=quality, subsampling=2, optimize=True),
        lambda: written(pixels, quality=quality, **options),
    )
    data = bytearray(sources[random.choice(3, p=(0.6, 0.3, 0.1))]())
    # The header's bytes are few, and matter most.
    header = bytes(data).index(b"\xff\xda") + 14
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, header if random.random() < 0.5 else len(data)))
        other = int(random.integers(0, 256))
        match random.integers(0, 7):
            case 0 | 1:
                data[at] = other
            case 2:
                data[at] ^= 1 << (other & 7)
            case 3:
                del data[at : at + other // 16 + 1]
            case 4:
                data[at:at] = random.bytes(other // 16 + 1)
            case 5:
                data[at : at + 4] = random.choice([b"\xff" * 4, bytes(4), b"\xff\xda\xff\xd9"])
            case 6 if random.random() < 0.2:
                del data[at:]
                data += random.choice([b"", b"\xff\xd9"])
        if len(data) <= header:
            break
    return bytes(data)


@needs_kernel
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([16, 17, 32, 40]), seeds)
def test_what_is_done_to_a_file_never_gives_other_pixels(size, seed):
    random = np.random.default_rng(seed)
    check([mutated(random, size) for _ in range(8)], size, seed)


def test_without_a_compiler_all_is_left(monkeypatch):
    monkeypatch.setattr(jpeg, "_library", lambda: None)
    assert check([JPEG, JPEG], 32, 0) == [False, False]


@needs_kernel
@pytest.mark.skipif(not PHOTOGRAPHS.is_file(), reason=f"no photographs: {PHOTOGRAPHS} is absent")
def test_photographs():
    with tarfile.open(PHOTOGRAPHS) as archive:
        members = [member for member in archive if member.isfile()][:12]
        squares = [square_of(content_of(archive, member), 256) for member in members]
    images = [encode_jpeg(square, 92) for square in squares]
    assert all(check(images, 256, 1))


@pytest.fixture(scope="session")
def sanitised(tmp_path_factory) -> Path:
    """A program that decodes a file's images, and ends badly where memory is misused."""
    program = tmp_path_factory.mktemp("sanitised") / "decode"
    command = [
        *(os.environ.get("CXX", "g++"), "-std=c++17", "-O1", "-g", "-march=native"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        *("-I", str(Path(jpeg.__file__).parent), "-o", str(program)),
    ]
    probe = program.with_name("probe.cpp")
    probe.write_text("int main() { return 0; }\n")
    if shutil.which(command[0]) is None or (
        subprocess.run([*command, probe], capture_output=True, check=False).returncode
        or subprocess.run([program], capture_output=True, check=False).returncode
    ):
        pytest.skip("the compiler has no address sanitiser")
    subprocess.run([*command, HERE / "sanitised_jpeg.cpp"], check=True)
    return program


@pytest.mark.parametrize("size", [16, 41])
def test_memory_is_never_misused(sanitised, tmp_path, size):
    random = np.random.default_rng(size)
    images = [mutated(random, size) for _ in range(3000)]
    images += [random.bytes(int(length)) for length in random.integers(0, 300, 200)]
    images += [JPEG[: SOS + 14] + random.bytes(400) + b"\xff\xd9" for _ in range(200)]
    file = tmp_path / "images"
    file.write_bytes(b"".join(struct.pack("<q", len(image)) + image for image in images))
    done = subprocess.run(
        [sanitised, file, str(size)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Some are whole all the same, most are not: both ends were seen.
    assert 0.02 < int(done.stdout) / len(images) < 0.9


def test_a_processor_without_avx2_leaves_all_to_the_other_decoder(monkeypatch):
    monkeypatch.setattr(jpeg, "processor_features", lambda: "sse2 avx avx2ish")
    assert jpeg._library.__wrapped__() is None
