"""The images of any WebDataset tar with their labels, by which it is indexed and packed alike."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from data_shards.shards.grouping import IMAGE_EXTENSIONS, GroupedSample, group_by_key
from data_shards.shards.labels import MAX_LABEL_BYTES, Label, SampleSkip, label_of
from data_shards.shards.tar_index import TarMember

Read = Callable[[int, int], bytes]
"""Returns so many bytes of the tar, (offset, size)."""


class LabelledImage(NamedTuple):
    """A sample with an image and a label."""

    key: str
    image: TarMember
    label: Label


class LeftOut(NamedTuple):
    """A sample that cannot be one of a set."""

    key: str
    reason: SampleSkip


def labelled_images(
    members: Iterable[TarMember], read: Read, label_field: str | None
) -> Iterator[LabelledImage | LeftOut]:
    """Yield each sample that a tar's members are of, in its order.

    KEY.cls is the label, or the field of that name of KEY.json. Raises TarLayoutError.
    """
    for sample in group_by_key(members):
        image = next(
            (sample.members[each] for each in IMAGE_EXTENSIONS if each in sample.members), None
        )
        label = _label(sample, read, label_field)
        if image is None:
            yield LeftOut(sample.key, SampleSkip.NO_IMAGE)
        elif isinstance(label, SampleSkip):
            yield LeftOut(sample.key, label)
        else:
            yield LabelledImage(sample.key, image, label)


def where_labels_are(label_field: str | None) -> str:
    """Return in words where labels were looked for."""
    return "KEY.cls" if label_field is None else f"{label_field!r} in KEY.json"


def _label(sample: GroupedSample, read: Read, label_field: str | None) -> Label | SampleSkip:
    member = sample.members.get("cls" if label_field is None else "json")
    if member is None:
        return SampleSkip.NO_LABEL
    if member.size_bytes > MAX_LABEL_BYTES:
        return SampleSkip.UNUSABLE_LABEL
    label = label_of(read(member.offset, member.size_bytes), label_field)
    return SampleSkip.UNUSABLE_LABEL if label is None else label
