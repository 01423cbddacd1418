"""What was drawn of a job: kernels as they form, what images are taken for, best and worst classes.

Names of classes are other people's; paths are of a run directory, as the API gives its files away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from service.ui import formats
from trainer.contract.pictures import ClassCount, ClassCounts, ShownImage, StepPictures
from trainer.contract.report_text import PROTOCOLS

NUM_CLASSES = 5
NUM_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class Tower:
    """The kernels of a tower as a picture."""

    url: str
    width: int
    height: int
    num_kernels: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of which there are pictures."""

    step: int
    label: str
    towers: tuple[Tower, ...]

    @property
    def told(self) -> dict[str, object]:
        """What the slider shows of it."""
        return {"step": self.step, "label": self.label, "urls": [one.url for one in self.towers]}


@dataclass(frozen=True, kw_only=True)
class GuessBar:
    """A class that an image is taken for, and how surely."""

    name: str
    probability: float
    is_right: bool


@dataclass(frozen=True, kw_only=True)
class GuessedImage:
    """An image, and what it is taken for."""

    url: str
    name: str
    bars: tuple[GuessBar, ...]


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """What the evaluation made of a class."""

    name: str
    right: float
    """Share right at the first guess."""
    told: str


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The latest evaluation class by class."""

    title: str
    best: tuple[ClassRow, ...]
    worst: tuple[ClassRow, ...]
    pairs: tuple[tuple[str, str, str], ...]
    """True class, guess, how often."""
    confusion: str | None
    """URL of a picture; None: of too many classes."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The part of the page."""

    job_id: str
    steps: tuple[Step, ...]
    chosen: int
    """Place among them."""
    images: tuple[GuessedImage, ...]
    classes: Classes | None

    @property
    def shown(self) -> Step:
        """The step whose pictures are shown."""
        return self.steps[self.chosen]


def pictures(
    job_id: str,
    drawn: Sequence[StepPictures],
    latest: tuple[StepPictures, ClassCounts] | None,
    asked: int | None,
) -> Pictures | None:
    """Put the pictures together; None: there are none.

    `latest`: the newest evaluation class by class; `asked`: the step to show, the newest for None.
    """
    # Of a checkpoint that was deleted before it was drawn the classes alone are.
    drawn = [one for one in drawn if one.towers] or drawn
    if not drawn:
        return None
    places = [place for place, one in enumerate(drawn) if one.step == asked]
    chosen = places[0] if places else len(drawn) - 1
    return Pictures(
        job_id=job_id,
        steps=tuple(_step(job_id, one) for one in drawn),
        chosen=chosen,
        images=guessed(job_id, drawn[chosen]),
        classes=None if latest is None else _classes(job_id, *latest),
    )


def artifact_url(job_id: str, path: str) -> str:
    """Return where the API gives a file of the run directory away."""
    return f"/jobs/{job_id}/artifacts/{quote(path)}"


def guessed(job_id: str, drawn: StepPictures) -> tuple[GuessedImage, ...]:
    """Return what the images were taken for after a step."""
    return tuple(_image(job_id, one) for one in drawn.images)


def _step(job_id: str, drawn: StepPictures) -> Step:
    return Step(
        step=drawn.step,
        label=f"step {formats.count(drawn.step)}, epoch {drawn.epoch:.2f}",
        towers=tuple(
            Tower(
                url=artifact_url(job_id, one.path),
                width=one.width,
                height=one.height,
                num_kernels=one.num_kernels,
            )
            for one in drawn.towers
        ),
    )


def _image(job_id: str, shown: ShownImage) -> GuessedImage:
    return GuessedImage(
        url=artifact_url(job_id, shown.path),
        name=shown.name,
        bars=tuple(
            GuessBar(name=one.name, probability=one.probability, is_right=one.label == shown.label)
            for one in shown.guesses
        ),
    )


def _classes(job_id: str, drawn: StepPictures, counts: ClassCounts) -> Classes:
    ranked = counts.worst_first()
    # Of few classes none is among both.
    num_shown = min(NUM_CLASSES, len(ranked) // 2)
    return Classes(
        title=f"step {formats.count(counts.step)}, {PROTOCOLS[counts.protocol]}",
        best=tuple(map(_class, ranked[::-1][:num_shown])),
        worst=tuple(map(_class, ranked[:num_shown])),
        pairs=tuple(
            (one.name, one.guess_name, formats.count(one.count))
            for one in counts.worst_pairs[:NUM_PAIRS]
        ),
        confusion=None if drawn.confusion is None else artifact_url(job_id, drawn.confusion),
    )


def _class(counted: ClassCount) -> ClassRow:
    told = f"{formats.count(counted.right)} of {formats.count(counted.num_samples)}"
    return ClassRow(name=counted.name, right=counted.right / counted.num_samples, told=told)
