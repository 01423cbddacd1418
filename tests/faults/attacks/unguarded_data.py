"""The packing of images without what refuses bombs and odd tars: what trials must notice."""

import sys
from pathlib import Path

from PIL import Image

from data_shards.images import image_file
from data_shards.shards import tar_index
from data_shards.sources import archive

ROOT = Path(__file__).parents[3]


def _any(*_: object) -> None:
    return


def _name(name: str, _position: int) -> str:
    return name


def turn_off() -> None:
    """Turn every guard off in this process."""
    image_file.MAX_PIXELS = sys.maxsize  # type: ignore[attr-defined]
    Image.MAX_IMAGE_PIXELS = None
    tar_index._check_file = _any  # type: ignore[assignment]
    tar_index._checked_name = _name  # type: ignore[assignment]
    archive._MAX_RATIO = sys.maxsize


def turned_off(folder: Path) -> dict[str, str]:
    """Return what has every Python that is started turn them off, workers too."""
    folder.mkdir(exist_ok=True)
    program = f"from {__name__} import turn_off\n\nturn_off()\n"
    (folder / "sitecustomize.py").write_text(program)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}
