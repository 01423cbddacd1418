"""A plain loop that packs with PIL, a process a core.

python -m tests.bench.data.pil_packer SIZE QUALITY PROCESSES FOLDER OUT
"""

import io
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL
import webdataset
from PIL import Image

from tests.bench.data.turns import take_turns


def main() -> None:
    """Pack equal shares at the same time; no mean image, no PCA, no digests, no shuffle."""
    size, quality, processes, folder, out = sys.argv[1:]
    paths = sorted(Path(folder).rglob("*.*"))
    shares = [
        (paths[start :: int(processes)], int(size), int(quality), Path(f"{out}-{start}.tar"))
        for start in range(int(processes))
    ]
    with multiprocessing.get_context("fork").Pool(len(shares)) as pool:

        def epoch() -> Iterator[int]:
            yield 0
            yield sum(pool.starmap(_pack, shares, chunksize=1))

        take_turns(epoch, about={"versions": {"pillow": PIL.__version__}})


def _pack(paths: list[Path], size: int, quality: int, out: Path) -> int:
    """Write a tar of squared JPEGs; return how many."""
    with webdataset.TarWriter(str(out)) as tar:
        for number, path in enumerate(paths):
            image = Image.open(path).convert("RGB")
            scale = size / min(image.size)
            width, height = (round(edge * scale) for edge in image.size)
            image = image.resize((width, height), Image.Resampling.LANCZOS)
            left, top = (width - size) // 2, (height - size) // 2
            jpeg = io.BytesIO()
            image.crop((left, top, left + size, top + size)).save(jpeg, "JPEG", quality=quality)
            tar.write({"__key__": f"{number:09d}", "jpg": jpeg.getvalue(), "cls": b"0"})
    return len(paths)


if __name__ == "__main__":
    main()
