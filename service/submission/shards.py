"""The shards that a manifest names, looked at without reading them."""

from collections.abc import Callable
from pathlib import Path

from data_shards.manifest import Manifest, ManifestError
from data_shards.storage.location import is_url
from service.submission.manifests import StoreBusyError, stored_sizes
from service.views.plans import CheckedShards

MAX_NAMED = 5


def check_shards(split: str, file: str, manifest: Manifest, *, ask_stores: bool) -> CheckedShards:
    """Compare the sizes of all shards with the manifest's; `file` is its true path, or URL.

    Shards in an object store are listed only with `ask_stores`, for that takes seconds; blocks.
    Nothing that is wrong with them is raised.
    """
    wrong: list[str] = []
    if not is_url(file):
        how = "the size of each"
        wrong = _wrong(manifest, _size_in(Path(file).parent))
    elif not ask_stores:
        how = "nothing: only the manifest was read"
    else:
        try:
            how, wrong = "the size of each, as listed", _wrong(manifest, stored_sizes(file).get)
        except (ManifestError, StoreBusyError) as error:
            how = f"nothing: {error}"
    return CheckedShards(
        split=split,
        location=file,
        num_shards=len(manifest.shards),
        num_samples=manifest.num_samples,
        size_bytes=manifest.size_bytes,
        how=how,
        num_wrong=len(wrong),
        wrong=tuple(wrong[:MAX_NAMED]),
    )


def _size_in(folder: Path) -> Callable[[str], int | None]:
    def size_of(name: str) -> int | None:
        try:
            return (folder / name).stat().st_size
        except OSError:
            return None

    return size_of


def _wrong(manifest: Manifest, size_of: Callable[[str], int | None]) -> list[str]:
    wrong = []
    for shard in manifest.shards:
        size_bytes = size_of(shard.name)
        if size_bytes is None:
            wrong.append(f"{shard.name} is missing")
        elif size_bytes != shard.size_bytes:
            wrong.append(f"{shard.name} has {size_bytes:,} bytes, not {shard.size_bytes:,}")
    return wrong
