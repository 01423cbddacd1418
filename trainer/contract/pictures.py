"""What was drawn of a job as it trained: pictures.json of a step, and what lies beside it.

An attempt's pictures lie in its own folder, in one of each step; the index is written last, so that
what it names is there. Paths are relative to the run directory: `GET /jobs/{id}/artifacts/PATH`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from trainer.contract.events import Ratio
from trainer.contract.lineage import spans
from trainer.contract.model import Record
from trainer.contract.model_spec import MAX_NUM_CLASSES
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import Protocol

PICTURES_VERSION: Literal[1] = 1
INDEX_NAME = "pictures.json"
CLASSES_NAME = "classes.json"
PAIRS_NAME = "pairs.json"
CONFUSION_NAME = "confusion.png"
IMAGES_NAME = "images"
# Of the run up to then, in the folder of what an attempt's pictures share.
CURVES_NAME = "curves.svg"
# Of the training set, in that folder of one attempt.
SHEET_NAME = "training-set.png"

# A confusion of more classes is told by its worst pairs alone: at a pixel a cell it fills a screen.
MAX_CLASSES_OF_CONFUSION = 1000
# Of more it is written down by its pairs: most of a million cells are empty.
MAX_CLASSES_OF_MATRIX = 128
MAX_WORST_PAIRS = 50
# Assumed: a hundred times what eight images of classes with long names have.
_LARGEST_INDEX_BYTES = 4 << 20
# A class has a name of up to 400 characters, and numbers with their keys in up to 112. Files of
# before hold pairs as well, 12 MB of a million.
_LARGEST_CLASSES_BYTES = 512 * MAX_NUM_CLASSES

R = TypeVar("R", bound=Record)


class KernelPicture(Record):
    """conv1's kernels of one tower, in rows, each scaled to its own range (Fig. 3)."""

    path: str = Field(description="A PNG whose gaps are transparent.")
    num_kernels: int = Field(ge=1)
    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    width: int = Field(ge=1, description="Pixels.")
    height: int = Field(ge=1, description="Pixels.")


class Guess(Record):
    """One class that an image is taken for."""

    label: int = Field(ge=0)
    name: str
    probability: Ratio


class ShownImage(Record):
    """A validation image, the same at each step, and what it is taken for (Fig. 4)."""

    path: str = Field(description="A PNG of what the network is shown: the centre crop.")
    sample: int = Field(ge=0, description="Of the validation set.")
    label: int = Field(ge=0)
    name: str = Field(description="Of its true class.")
    guesses: tuple[Guess, ...] = Field(description="The five likeliest, most likely first.")


class StepPictures(Record):
    """What there is of one step of one attempt."""

    version: Literal[1] = PICTURES_VERSION
    attempt: int = Field(ge=1)
    step: int = Field(ge=0)
    epoch: float
    towers: tuple[KernelPicture, ...] = Field(
        default=(), description="By tower; empty in an evaluation of other jobs' checkpoints."
    )
    images: tuple[ShownImage, ...] = Field(default=(), description="At most eight.")
    classes: str | None = Field(
        default=None, description="ClassCounts, where the network was evaluated after this step."
    )
    confusion: str | None = Field(
        default=None, description=f"A PNG, of up to {MAX_CLASSES_OF_CONFUSION} classes."
    )


class ClassCount(Record):
    """What an evaluation made of one class."""

    label: int = Field(ge=0)
    name: str
    num_samples: int = Field(ge=0)
    right: int = Field(ge=0, description="At the first guess.")
    within_five: int = Field(ge=0)


class ConfusedPair(Record):
    """How often one class was taken for another, by the first guess."""

    label: int = Field(ge=0)
    name: str
    guess: int = Field(ge=0)
    guess_name: str
    count: int = Field(ge=1)


Pairs = tuple[tuple[int, int, int], ...]


class ConfusionPairs(Record):
    """The confusion of more classes than a matrix is written of, which nobody needs to list them.

    In a file of its own: of a thousand classes it may have a million pairs.
    """

    version: Literal[1] = PICTURES_VERSION
    pairs: Pairs = Field(
        description="True class, first guess, and how many samples, where there are any."
    )


class ClassCounts(Record):
    """An evaluation class by class."""

    version: Literal[1] = PICTURES_VERSION
    step: int = Field(ge=0)
    protocol: Protocol
    classes: tuple[ClassCount, ...] = Field(description="By label.")
    confusion: tuple[tuple[int, ...], ...] | None = Field(
        description="Samples by true class and first guess, (classes, classes); None of more than "
        f"{MAX_CLASSES_OF_MATRIX} classes. A guess that is none of the classes is in no place."
    )
    pairs: Pairs | None = Field(
        default=None,
        exclude=True,
        description=f"The same of more classes, up to {MAX_CLASSES_OF_CONFUSION}. It is written "
        f"beside the classes ({PAIRS_NAME}), and read from files that were written before that.",
    )
    worst_pairs: tuple[ConfusedPair, ...] = Field(
        description=f"Most frequent first, at most {MAX_WORST_PAIRS}."
    )

    def worst_first(self) -> list[ClassCount]:
        """Return the classes that have samples, by the share of them that is right."""

        def rank(one: ClassCount) -> tuple[float, float, int]:
            return one.right / one.num_samples, one.within_five / one.num_samples, one.label

        return sorted((one for one in self.classes if one.num_samples), key=rank)


def pictures_of(run: RunDirectory, attempts: Iterable[int] | None = None) -> list[StepPictures]:
    """Return what was drawn in the lineage, by step; what is broken or half written is left out.

    What an attempt drew past the step from which a later one went on is not of the lineage.
    """
    found: dict[int, StepPictures] = {}
    for span in spans(run, attempts):
        for step, folder in span.attempt.pictured().items():
            if span.start <= step and (span.stop is None or step <= span.stop):
                pictures = _read(StepPictures, folder / INDEX_NAME, _LARGEST_INDEX_BYTES)
                if pictures is not None and pictures.step == step:
                    # Of a step that two attempts drew, the later's.
                    found[step] = pictures
    return [found[step] for step in sorted(found)]


def classes_of(run: RunDirectory, pictures: StepPictures) -> ClassCounts | None:
    """Read what the evaluation after a step made of each class; None: none that can be read."""
    if pictures.classes is None:
        return None
    return _read(ClassCounts, run.path / pictures.classes, _LARGEST_CLASSES_BYTES)


def curves_of(run: RunDirectory, attempts: Iterable[int]) -> str | None:
    """Return the newest curves of these attempts, which hold those before; None: there are none."""
    return _newest(run, attempts, CURVES_NAME)


def sheet_of(run: RunDirectory, attempts: Iterable[int]) -> str | None:
    """Return the contact sheet of the training set; None: none of these attempts drew it."""
    return _newest(run, attempts, SHEET_NAME)


def _newest(run: RunDirectory, attempts: Iterable[int], name: str) -> str | None:
    files = (run.attempt(number).pictures / name for number in sorted(attempts, reverse=True))
    return next((str(file.relative_to(run.path)) for file in files if file.is_file()), None)


def _read(kind: type[R], file: Path, largest_bytes: int) -> R | None:
    try:
        # What is no file might never end.
        if not file.is_file() or file.stat().st_size > largest_bytes:
            return None
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
