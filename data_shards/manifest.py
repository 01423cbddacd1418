"""manifest.json, the description of a set of shards (pydantic and standard library only)."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_shards.errors import DataError

MANIFEST_VERSION: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
# Assumed: a hundred times what ImageNet's takes.
MAX_MANIFEST_BYTES = 64 << 20
# Enough to see what they have in common.
MAX_SKIPPED_IMAGES = 20

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# A plain file name: the manifest can only speak of files beside it.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
SplitName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Triple = tuple[float, float, float]


class ManifestError(DataError):
    """A manifest is missing, unreadable, or not one of ours."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ShardEntry(_Record):
    """One tar."""

    name: FileName
    num_samples: int = Field(ge=1)
    size_bytes: int = Field(ge=1)
    sha256: Sha256


class SidecarEntry(_Record):
    """A file beside the shards that is not a tar."""

    name: FileName
    size_bytes: int = Field(ge=1)
    sha256: Sha256


class ClassEntry(_Record):
    """One class; its place in the list is its label."""

    name: str = Field(min_length=1, max_length=400)
    synset: str | None = Field(default=None, description="WordNet id, where the source has one.")


class RgbPca(_Record):
    """Principal components of the training set's RGB pixels on 0-255 (paper section 4.1)."""

    eigenvalues: Triple = Field(description="Variance along each component, largest first.")
    eigenvectors: tuple[Triple, Triple, Triple] = Field(
        description="Row i is the unit vector (R, G, B) of component i."
    )


class SkippedImage(_Record):
    """An image of the source that was left out."""

    path: str = Field(description="Below the source; bytes that are no UTF-8 are escaped.")
    reason: str


class Packing(_Record):
    """How the shards were made.

    With the manifest's split, encoding and image size, the values asked for give of the same
    images at the same paths the same bytes.
    """

    source: str = Field(description="Kind of source, never a path.")
    source_sha256: Sha256 = Field(
        description="What tells one source from another of its kind: a digest of the images' "
        "paths and sizes in a folder or tar, with their labels where paths do not tell them; of "
        "all pixels and labels in idx files and CIFAR-10's batches."
    )
    seed: int
    samples_per_shard: int
    quality: int | None = Field(description="JPEG quality; None for raw.")
    limit: int | None = Field(description="Samples taken at most; None: all.")
    skipped: dict[str, int] = Field(description="Samples left out, by reason.")
    skipped_images: tuple[SkippedImage, ...] = Field(
        default=(), max_length=MAX_SKIPPED_IMAGES, description="The first of them."
    )


class Manifest(_Record):
    """Everything a reader must know before it opens the first tar."""

    version: Literal[1] = MANIFEST_VERSION
    split: SplitName
    encoding: Literal["jpeg", "raw"]
    image_size: int = Field(ge=1, description="Edge of the square images, in pixels.")
    squared: bool = Field(
        default=True,
        description="Whether those squares are what is stored; else images of any size and kind "
        "are, which are squared as they are read.",
    )
    num_samples: int = Field(ge=1)
    classes: tuple[ClassEntry, ...] = Field(min_length=1)
    shards: tuple[ShardEntry, ...] = Field(min_length=1)
    index: SidecarEntry = Field(
        description="npy, int64 (num_samples, 4): shard, byte offset, byte size, label."
    )
    mean_image: SidecarEntry = Field(
        description="npy, float32 (image_size, image_size, 3), RGB on 0-255."
    )
    rgb_pca: RgbPca
    packing: Packing

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        counted = sum(shard.num_samples for shard in self.shards)
        if counted != self.num_samples:
            raise ValueError(f"the shards hold {counted} samples, not {self.num_samples}")
        return self

    @property
    def files(self) -> tuple[ShardEntry | SidecarEntry, ...]:
        """Every file of the set but the manifest."""
        return (*self.shards, self.index, self.mean_image)

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size_bytes for shard in self.shards)

    def content_sha256(self) -> str:
        """Digest of all that a reader's batches follow from: not how the shards came to be."""
        content = self.model_dump(mode="json", exclude={"packing"})
        if self.squared:
            # As it was before there were others, so that what was trained on it goes on.
            del content["squared"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Stable text: the same manifest gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def manifest_file(location: Path) -> Path:
    """Return the manifest.json that a location names: the file itself, or its folder.

    Raises ManifestError for a file of another name: shards are looked for beside manifest.json.
    """
    if location.is_dir():
        return location / MANIFEST_NAME
    if location.name == MANIFEST_NAME:
        return location
    if location.exists():
        raise ManifestError(
            f"{location} is a file of another name than {MANIFEST_NAME}; name the folder of the "
            f"shards, or the {MANIFEST_NAME} in it"
        )
    return location / MANIFEST_NAME


def load_manifest(path: Path) -> Manifest:
    """Read a manifest from its file, manifest.json, or from the folder it lies in.

    Raises ManifestError, which says what is wrong with which file and what to do.
    """
    file = path
    try:
        file = manifest_file(path)
        text = _read_bytes(file).decode("utf-8")
    except FileNotFoundError:
        raise ManifestError(
            f"{file} does not exist; pack the images first: python -m data_shards pack SOURCE OUT; "
            "or, for tars packed elsewhere: python -m data_shards index FOLDER"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file} cannot be read: {error}") from error
    return parse_manifest(text, str(file))


def _read_bytes(file: Path) -> bytes:
    # Asked before it is opened: a pipe would wait for somebody to write.
    if not stat.S_ISREG(file.stat().st_mode):
        raise ManifestError(f"{file} is no regular file; name the folder of a packed set")
    with file.open("rb") as opened:
        content = opened.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{file} holds more than {MAX_MANIFEST_BYTES} bytes, too many for a manifest; name the "
            "folder of a packed set"
        )
    return content


def parse_manifest(text: str, file: str) -> Manifest:
    """Read a manifest's text; `file` is what messages call it. Raises ManifestError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{file} is not JSON ({error}); pack the images again") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version != MANIFEST_VERSION:
        raise ManifestError(
            f"{file} has version {version!r}, where this release reads version {MANIFEST_VERSION}; "
            "pack the images again, or use the release that packed them"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the manifest"
        raise ManifestError(
            f"{file}: {where}: {first['msg']}; pack the images again, or mend the file"
        ) from error
