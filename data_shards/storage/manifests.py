"""Manifests of sets that lie anywhere."""

from pathlib import Path

from data_shards.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    load_manifest,
    manifest_file,
    parse_manifest,
)
from data_shards.storage.folder import open_folder
from data_shards.storage.location import is_url, parse_url


def set_location(location: str | Path) -> str:
    """Return the folder of the set that is named by its folder or by the manifest.json in it.

    Raises ManifestError, or StorageError for a URL that cannot be one.
    """
    if is_url(location):
        return parse_url(location).url.removesuffix(f"/{MANIFEST_NAME}")
    return str(manifest_file(Path(location)).parent)


def read_manifest(location: str | Path) -> Manifest:
    """Read the manifest of a set by its folder, or by the manifest.json in it.

    Raises ManifestError, or StorageError where an object store cannot be read.
    """
    if not is_url(location):
        return load_manifest(Path(location))
    folder = open_folder(set_location(location))
    shown = folder.at(MANIFEST_NAME)
    try:
        text = folder.read_bytes(MANIFEST_NAME, MAX_MANIFEST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{shown} does not exist; name the folder of a packed set") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{shown} cannot be read: {error}") from error
    return parse_manifest(text, shown)
