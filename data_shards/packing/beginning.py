"""Whether a set is there, finished, or its packing goes on, or begins."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from data_shards.errors import PackError
from data_shards.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    parse_manifest,
)
from data_shards.packing.begun import (
    BEGUN_NAME,
    Begun,
    manifest_sha256,
    read_begun,
    write_begun,
)
from data_shards.packing.record import RECORD_SUFFIX
from data_shards.packing.request import PackRequest, differences, facts_of
from data_shards.packing.target import Target, ask_each
from data_shards.shards.grouping import INDEXED_KIND
from data_shards.storage.folder import Folder

_MEND = "choose another folder, or pack with --force to replace it"


def begin(request: PackRequest, target: Target, *, force: bool) -> Begun | Manifest:
    """Make the target ready to pack, or return the manifest of a set that is there, finished.

    Raises PackError if something else lies there, finished or not, unless `force`; whatever is
    told, if it is what somebody else packed.
    """
    _refuse_indexed(target.folder)
    begun, manifest = read_begun(target.work), manifest_sha256(target.folder)
    # Any other manifest was published by that very packing, which was killed as it cleaned up.
    unfinished = manifest is None or (
        manifest == begun.replaced_manifest_sha256
        if begun is not None
        else target.work.exists(BEGUN_NAME)
    )
    if not force and unfinished and begun and begun.request_sha256 == request.sha256:
        target.make_way()
        return begun
    recorded = _recorded(target.work)
    if not force:
        if unfinished and recorded:
            _refuse_unfinished(request, target, begun, len(recorded))
        if (present := _present(request, target.folder)) is not None:
            target.clean()
            return present
    replaced = _files_there(target.folder, begun, recorded)
    _refuse_foreign(request, target.folder, replaced)
    target.start_anew()
    begun = Begun(
        request_sha256=request.sha256,
        request=request.facts,
        split=request.split,
        replaced_manifest_sha256=manifest,
        replaced_files=replaced,
    )
    write_begun(target.work, begun)
    target.make_way()
    return begun


def stale_files(folder: Folder, begun: Begun, manifest: Manifest) -> list[str]:
    """Return the files of other sets, which go when this one is published."""
    there = {*begun.replaced_files, *_shards_in(folder, manifest.split)}
    return sorted(there - {entry.name for entry in manifest.files})


def _present(request: PackRequest, folder: Folder) -> Manifest | None:
    """Return the manifest of a finished set made by the same request; None if there is no set."""
    try:
        manifest = _manifest(folder)
    except ManifestError as error:
        raise PackError(
            f"{folder.location} holds a set that cannot be read ({error}); {_MEND}"
        ) from error
    if manifest is None:
        return None
    if found := differences(facts_of(manifest), request.facts):
        raise PackError(
            f"{folder.location} holds a set packed otherwise: {', '.join(found)}; {_MEND}"
        )
    sizes = ask_each(partial(_size, folder), [entry.name for entry in manifest.files])
    for entry, size in zip(manifest.files, sizes, strict=True):
        if size != entry.size_bytes:
            raise PackError(f"{folder.at(entry.name)} is missing or not whole; {_MEND}")
    return manifest


def _refuse_unfinished(
    request: PackRequest, target: Target, begun: Begun | None, num_finished: int
) -> None:
    """Raise PackError rather than throw away what another packing has finished."""
    found = ["begun by another release"]
    if begun is not None:
        found = differences(begun.request, request.facts) or found
    raise PackError(
        f"{target.folder.location} holds {num_finished} finished shards of a packing that is not "
        f"finished, and is another: {', '.join(found)}; go on with that, choose another folder, or "
        "pack with --force to start anew"
    )


def _refuse_foreign(request: PackRequest, folder: Folder, ours: Sequence[str]) -> None:
    """Raise PackError if shards lie there that no manifest and no packing knows."""
    try:
        _manifest(folder)
    except ManifestError:
        # Which may know them.
        return
    if foreign := sorted({*_shards_in(folder, request.split)}.difference(ours)):
        raise PackError(
            f"{folder.location} holds shards without a manifest, such as {foreign[0]}; choose "
            "another folder"
        )


def _refuse_indexed(folder: Folder) -> None:
    """Raise PackError if tars lie there that were only indexed here: replaced, they were gone."""
    with suppress(ManifestError):
        manifest = _manifest(folder)
        if manifest is not None and manifest.packing.source == INDEXED_KIND:
            raise PackError(
                f"{folder.location} holds tars that were packed elsewhere and are only indexed; "
                "choose another folder"
            )


def _manifest(folder: Folder) -> Manifest | None:
    """Return the manifest that lies there, None without one. Raises ManifestError."""
    try:
        content = folder.read_bytes(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        return None
    # What is not UTF-8 is no JSON either.
    return parse_manifest(content.decode("utf-8", "replace"), folder.at(MANIFEST_NAME))


def _size(folder: Folder, name: str) -> int | None:
    try:
        return folder.size(name)
    except FileNotFoundError:
        return None


def _recorded(work: Folder) -> list[str]:
    """Return the shards that an unfinished packing has finished."""
    names = (name for name in work.names() if name.endswith(RECORD_SUFFIX))
    return [name.removesuffix(RECORD_SUFFIX) for name in names]


def _files_there(folder: Folder, begun: Begun | None, recorded: Sequence[str]) -> tuple[str, ...]:
    """Return the files of the set that lies there and of the packing begun, of whatever split."""
    names = set(recorded)
    if begun is not None:
        names |= {*begun.replaced_files, *_shards_in(folder, begun.split)}
    # A manifest that cannot be read names no files.
    with suppress(ManifestError):
        manifest = _manifest(folder)
        names |= {entry.name for entry in manifest.files} if manifest else set()
    return tuple(sorted(names))


def _shards_in(folder: Folder, split: str) -> Sequence[str]:
    shard = re.compile(re.escape(split) + r"-[0-9]{6}\.tar")
    return [name for name in folder.names() if shard.fullmatch(name)]
