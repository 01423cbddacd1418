"""Packed sets with spoilt images, as sound as their digests."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from data_shards.manifest import load_manifest
from data_shards.shards.sidecars import load_index


def damage(packed: Path, folder: Path, samples: Iterable[int]) -> Path:
    """Copy the set of a manifest, the second half of some images zeroed; return the copy's."""
    return _rewrite(
        packed, folder, dict.fromkeys(samples, lambda content: content[: len(content) // 2])
    )


def overwrite(packed: Path, folder: Path, contents: Mapping[int, bytes]) -> Path:
    """Copy the set of a manifest, some images replaced by other bytes; return the copy's."""

    def becoming(new: bytes) -> Callable[[bytes], bytes]:
        return lambda _: new

    changes = {sample: becoming(new) for sample, new in contents.items()}
    return _rewrite(packed, folder, changes)


def _rewrite(packed: Path, folder: Path, changes: Mapping[int, Callable[[bytes], bytes]]) -> Path:
    shutil.copytree(packed.parent, folder)
    manifest = load_manifest(folder)
    index = load_index(folder, manifest)
    for sample, change in changes.items():
        shard, offset, size, _ = index[sample].tolist()
        with (folder / manifest.shards[shard].name).open("r+b") as file:
            file.seek(offset)
            changed = change(file.read(size))
            file.seek(offset)
            file.write(changed[:size].ljust(size, b"\0"))
    document = json.loads((folder / "manifest.json").read_text())
    for shard in document["shards"]:
        shard["sha256"] = hashlib.sha256((folder / shard["name"]).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder / "manifest.json"
