"""Manifests of the data that requests name, on disk or in an object store."""

import errno
from pathlib import Path
from typing import Any

import fsspec

from data_shards.manifest import Manifest, ManifestError, load_manifest, parse_manifest
from trainer.contract.confinement import is_url

# Assumed: a hundred times what ImageNet's takes.
MAX_MANIFEST_BYTES = 64 << 20
# A request waits for this: seconds to connect, and between two packets.
_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 5


def read_manifest(file: str) -> Manifest:
    """Read a manifest by the true path, or the URL, of its file; blocks. Raises ManifestError."""
    return _fetch(file) if is_url(file) else load_manifest(Path(file))


def _fetch(url: str) -> Manifest:
    try:
        text = _read(url).decode("utf-8")
    except ManifestError:
        raise
    except FileNotFoundError:
        raise ManifestError(
            f"{url} does not exist; pack the images first: python -m data_shards pack SOURCE OUT"
        ) from None
    # Drivers' own errors have no base in common, and what they say of a password is not shown.
    except Exception as error:
        raise ManifestError(f"{url} cannot be read: {_reason(error)}") from error
    return parse_manifest(text, url)


def _read(url: str) -> bytes:
    system = _file_system(url.partition("://")[0])
    size = int(system.info(url)["size"])
    if size > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{url} holds {size} bytes, too many for a manifest; name the manifest.json of a "
            "packed set"
        )
    content: bytes = system.cat_file(url, start=0, end=size) if size else b""
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "the driver of this kind of object store is not installed on the control plane"
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return "access is denied; give the control plane credentials that may read it"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text; pack the images again"
    name = type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, name)
    return f"the object store does not answer as it should ({name}); submit again when it does"


# A file system of fsspec, which has no types.
def _file_system(scheme: str) -> Any:
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _READ_TIMEOUT_S,
            "retries": {"total_max_attempts": 1},
        }
    system = fsspec.filesystem(scheme, **options)
    if scheme == "s3":
        system.retries = 2
    return system
