"""Finding out what is to be packed."""

from pathlib import Path

from data_shards.errors import SourceError
from data_shards.sources.fashion_mnist import is_fashion_mnist, open_fashion_mnist
from data_shards.sources.image_folder import folder_of_split, open_image_folder
from data_shards.sources.source import Source


def open_source(folder: Path, split: str) -> Source:
    """Find out what a folder holds and list it. Raises SourceError, which says what is missing."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name one that holds a folder for each class")
    if is_fashion_mnist(folder):
        return open_fashion_mnist(folder, split)
    return open_image_folder(folder_of_split(folder, split))
