"""`python -m data_shards` without what refuses bombs and odd tars: what trials must notice."""

import sys

from PIL import Image

from data_shards.__main__ import app
from data_shards.images import image_file
from data_shards.shards import tar_index
from data_shards.sources import archive


def _any(*_: object) -> None:
    return


def _name(name: str, _position: int) -> str:
    return name


if __name__ == "__main__":
    image_file.MAX_PIXELS = sys.maxsize
    Image.MAX_IMAGE_PIXELS = None
    tar_index._check_file = _any
    tar_index._checked_name = _name
    archive._MAX_RATIO = sys.maxsize
    app()
