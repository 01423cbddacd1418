"""What a manifest, and a look into its shards, say of a set. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_shards.manifest import Manifest, RgbPca, Triple
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.charts import Chart, axis

# Beyond so many, classes are a strip in the order of their samples.
_NAMED_CLASSES = 50


class InspectedClass(BaseModel):
    """A class as `python -m data_shards inspect` tells of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    synset: str | None = None
    num_samples: int | None = None


class Inspected(BaseModel):
    """What that tells beyond the manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    classes: tuple[InspectedClass, ...]
    mean_colour: Triple | None = None
    problems: tuple[str, ...] = Field(default=(), description="With files beside the shards.")


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """A set that jobs name."""

    location: str
    uses: str
    """For people: as what, and by how many jobs."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of a card."""

    name: str
    value: str
    is_code: bool = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """Some facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Swatch:
    """A colour, and the numbers it stands for."""

    name: str
    css: str
    value: str


def named_sets(jobs: Iterable[JobRecord]) -> list[NamedSet]:
    """Return the sets that jobs name, those of the newest job first."""
    uses: dict[str, dict[str, int]] = {}
    for job in jobs:
        data = job.spec.data
        for split in ("train", "validation"):
            counts = uses.setdefault(getattr(data, split), {})
            counts[split] = counts.get(split, 0) + 1
    return [NamedSet(location=where, uses=_uses(counts)) for where, counts in uses.items()]


def cards_of(manifest: Manifest) -> list[Card]:
    """Say what a manifest says."""
    packing = manifest.packing
    skipped = [f"{number:,} {reason}" for reason, number in packing.skipped.items()]
    stored = f"{manifest.encoding}" + (
        f" of quality {packing.quality}" if packing.quality is not None else ""
    )
    edge = f"{manifest.image_size} × {manifest.image_size} pixels"
    return [
        Card(
            title="What is in it",
            facts=(
                Fact(name="Split", value=manifest.split),
                Fact(name="Samples", value=formats.count(manifest.num_samples)),
                Fact(name="Classes", value=formats.count(len(manifest.classes))),
                Fact(name="Images", value=edge),
                Fact(name="Stored", value=stored if manifest.squared else "as they came, any size"),
            ),
        ),
        Card(
            title="How it is stored",
            facts=(
                Fact(name="Shards", value=formats.count(len(manifest.shards))),
                Fact(name="Bytes", value=formats.size(manifest.size_bytes)),
                Fact(
                    name="Of a sample",
                    value=formats.size(manifest.size_bytes / manifest.num_samples),
                ),
                Fact(name="Content SHA-256", value=manifest.content_sha256(), is_code=True),
            ),
        ),
        Card(
            title="How it was made",
            facts=(
                Fact(name="Source", value=packing.source),
                Fact(name="Seed", value=str(packing.seed)),
                Fact(name="Samples of a shard", value=formats.count(packing.samples_per_shard)),
                Fact(
                    name="Limit",
                    value="none" if packing.limit is None else formats.count(packing.limit),
                ),
                Fact(name="Left out", value=", ".join(skipped) or "none"),
                Fact(name="Source SHA-256", value=packing.source_sha256, is_code=True),
            ),
        ),
    ]


def mean_swatch(colour: Triple | None) -> Swatch | None:
    """Show the mean colour; None: it is not known."""
    if colour is None:
        return None
    red, green, blue = (min(max(round(one), 0), 255) for one in colour)
    return Swatch(
        name="Mean colour",
        css=f"rgb({red} {green} {blue})",
        value=", ".join(f"{one:.1f}" for one in colour),
    )


def pca_swatches(pca: RgbPca) -> list[Swatch]:
    """Show each component as what it adds to mid-grey."""
    swatches = []
    for place, (value, vector) in enumerate(
        zip(pca.eigenvalues, pca.eigenvectors, strict=True), start=1
    ):
        # Of either sign it is the same component: the one that is brighter is shown.
        sign = 1 if sum(vector) >= 0 else -1
        red, green, blue = (min(max(round(128 + sign * 110 * one), 0), 255) for one in vector)
        numbers = ", ".join(f"{one:+.3f}" for one in vector)
        swatches.append(
            Swatch(
                name=f"Component {place}",
                css=f"rgb({red} {green} {blue})",
                value=f"variance {value:,.1f}; R, G, B {numbers}",
            )
        )
    return swatches


def balance_chart(classes: Sequence[InspectedClass]) -> Chart | None:
    """Chart how many samples the classes have; None: that is not known."""
    counted = [(one.num_samples, label, one) for label, one in enumerate(classes)]
    known = [(number, label, one) for number, label, one in counted if number is not None]
    if not known:
        return None
    ordered = sorted(known, key=lambda one: (-one[0], one[1]))
    names = [one.name for _, _, one in ordered]
    numbers = [number for number, _, _ in ordered]
    is_named = len(ordered) <= _NAMED_CLASSES
    trace = {
        "type": "bar",
        "x": list(range(len(ordered))),
        "y": numbers,
        "text": names,
        "textposition": "none",
        "hovertemplate": "%{text}: %{y:,}<extra></extra>",
        "marker": {"color": "var(--series-1)", "line": {"width": 0}},
    }
    x: dict[str, Any] = axis("Classes, the largest first")
    if is_named:
        x |= {"tickvals": trace["x"], "ticktext": [_short(name) for name in names]}
    else:
        x |= {"showticklabels": False}
    return Chart(
        id="balance",
        title="Class balance",
        note=_balance(numbers),
        data=[trace],
        layout={
            "xaxis": x,
            "yaxis": axis("Samples", rangemode="tozero"),
            "bargap": 0.25 if is_named else 0,
            "showlegend": False,
            "hovermode": "closest",
        },
        columns=("Class", "Label", "Synset", "Samples"),
        rows=[
            (one.name, str(label), one.synset or formats.NONE, formats.count(number))
            for number, label, one in ordered
        ],
    )


def _balance(numbers: Sequence[int]) -> str:
    """Say how even they are; the largest comes first."""
    if numbers[0] == numbers[-1]:
        return f"{numbers[0]:,} sample{'s' if numbers[0] != 1 else ''} in each"
    num_empty = sum(number == 0 for number in numbers)
    empty = f"; {num_empty:,} without any" if num_empty else ""
    return f"{numbers[-1]:,} to {numbers[0]:,} samples in each{empty}"


def _uses(counts: Mapping[str, int]) -> str:
    words = {"train": "training", "validation": "validation"}
    return ", ".join(
        f"{words[split]} data of {number:,} job{'s' if number != 1 else ''}"
        for split, number in counts.items()
    )


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
