"""The packing that was begun in a folder and is not finished, as its work folder tells."""

import hashlib

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_shards.manifest import MANIFEST_NAME, FileName, Sha256, SplitName
from data_shards.packing.request import Fact
from data_shards.storage.folder import Folder

# Of a set that is packed, the folder of what is not part of it.
WORK_NAME = ".packing"
BEGUN_NAME = "begun.json"
_MAX_BYTES = 1 << 30


class Begun(BaseModel):
    """Written before anything else is, deleted after everything else; `begun.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_sha256: Sha256 = Field(description="PackRequest.sha256: what is being packed.")
    request: dict[str, Fact] = Field(description="PackRequest.facts, of which that is the digest.")
    split: SplitName
    replaced_manifest_sha256: Sha256 | None = Field(
        description="Of the manifest that lay there; another one is of a set that was finished."
    )
    replaced_files: tuple[FileName, ...] = Field(
        description="What lay there of other sets, and goes when this one is finished."
    )


def read_begun(work: Folder) -> Begun | None:
    """Return what was begun; None if nothing was, or nothing that this release can go on with."""
    try:
        return Begun.model_validate_json(work.read_bytes(BEGUN_NAME, _MAX_BYTES))
    except (FileNotFoundError, ValidationError):
        return None


def write_begun(work: Folder, begun: Begun) -> None:
    """Write down what is begun."""
    work.put_bytes(begun.model_dump_json(indent=1).encode(), BEGUN_NAME)


def manifest_sha256(folder: Folder) -> str | None:
    """Return the digest of the manifest that lies there, None without one."""
    try:
        return hashlib.sha256(folder.read_bytes(MANIFEST_NAME, _MAX_BYTES)).hexdigest()
    except FileNotFoundError:
        return None
