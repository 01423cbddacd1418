"""Pictures as the process that draws them leaves them, of a network that nobody trained."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.contract.pictures import (
    CLASSES_NAME,
    CONFUSION_NAME,
    IMAGES_NAME,
    INDEX_NAME,
    ClassCount,
    ClassCounts,
    ConfusedPair,
    Guess,
    KernelPicture,
    ShownImage,
    StepPictures,
)
from trainer.contract.run_directory import AttemptDirectory
from trainer.pictures.confusion import draw_confusion
from trainer.pictures.kernels import columns_of, draw_tower

NUM_CLASSES = 1000
# What sets of others hold: ImageNet's commas, no space at all, and a script from right to left.
_NAMES = (
    "German shepherd, German shepherd dog, German police dog, alsatian",
    "n" * 128,
    "قطة سيامية، قطة شرقية",
    "tench",
)
_NUM_KERNELS, _EDGE = 48, 11
_SHOWN_EDGE = 224
_SAMPLES_OF_A_CLASS = 50


def class_name(label: int) -> str:
    """Return the name of a class; every fourth is short."""
    return _NAMES[label % len(_NAMES)]


def draw(attempt: AttemptDirectory, steps: tuple[int, ...], *, steps_per_epoch: int) -> None:
    """Draw kernels that form from step to step, and an evaluation class by class after the last."""
    for place, step in enumerate(steps, start=1):
        folder = attempt.pictures_at(step)
        folder.mkdir(parents=True)
        towers = tuple(
            _draw_tower(attempt, folder / f"tower-{tower}.png", tower, formed=place / len(steps))
            for tower in range(2)
        )
        is_last = place == len(steps)
        pictures = StepPictures(
            attempt=attempt.number,
            step=step,
            epoch=step / steps_per_epoch,
            towers=towers,
            images=_images(attempt),
            classes=_path(attempt, folder / CLASSES_NAME) if is_last else None,
            confusion=_path(attempt, folder / CONFUSION_NAME) if is_last else None,
        )
        if is_last:
            counts = _counts(step)
            (folder / CLASSES_NAME).write_text(counts.model_dump_json())
            draw_confusion(counts).save(folder / CONFUSION_NAME)
        (folder / INDEX_NAME).write_text(pictures.model_dump_json())


def gratings(tower: int, *, formed: float) -> npt.NDArray[np.float32]:
    """Return kernels (48, 3, 11, 11): waves of the first tower are grey, the other's are coloured.

    As far as they are `formed`, from 0 to 1: the rest is noise.
    """
    random = np.random.default_rng(tower)
    # (11, 11) each
    y, x = np.mgrid[:_EDGE, :_EDGE] - (_EDGE - 1) / 2
    angles = np.linspace(0, np.pi, _NUM_KERNELS, endpoint=False)[:, None, None]
    waves_per_pixel = random.uniform(0.08, 0.35, (_NUM_KERNELS, 1, 1))
    phases = random.uniform(0, 2 * np.pi, (_NUM_KERNELS, 1, 1))
    along = x * np.cos(angles) + y * np.sin(angles)
    envelope = np.exp(-(x**2 + y**2) / 18)
    # (48, 11, 11)
    waves = envelope * np.cos(2 * np.pi * waves_per_pixel * along + phases)
    colours = np.ones((_NUM_KERNELS, 3)) if tower == 0 else random.normal(size=(_NUM_KERNELS, 3))
    # (48, 3, 1, 1) * (48, 1, 11, 11) -> (48, 3, 11, 11)
    kernels = formed * colours[..., None, None] * waves[:, None]
    noise = random.normal(scale=0.3 * (1 - formed), size=kernels.shape)
    return (kernels + noise).astype(np.float32)


def _draw_tower(
    attempt: AttemptDirectory, file: Path, tower: int, *, formed: float
) -> KernelPicture:
    picture = draw_tower(gratings(tower, formed=formed))
    picture.save(file)
    columns = columns_of(_NUM_KERNELS)
    return KernelPicture(
        path=_path(attempt, file),
        num_kernels=_NUM_KERNELS,
        columns=columns,
        rows=-(-_NUM_KERNELS // columns),
        width=picture.width,
        height=picture.height,
    )


def _images(attempt: AttemptDirectory) -> tuple[ShownImage, ...]:
    folder = attempt.pictures / IMAGES_NAME
    folder.mkdir(exist_ok=True)
    return tuple(_image(attempt, folder / f"{number}.png", number) for number in range(8))


def _image(attempt: AttemptDirectory, file: Path, number: int) -> ShownImage:
    if not file.exists():
        ramp = np.linspace(0, 255, _SHOWN_EDGE)
        pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 32.0 * number), axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    probabilities = (0.61, 0.2, 0.1, 0.05, 0.03)
    return ShownImage(
        path=_path(attempt, file),
        sample=number,
        label=number,
        name=class_name(number),
        guesses=tuple(
            # Every other image is known at the first guess.
            Guess(label=label, name=class_name(label), probability=probability)
            for label, probability in enumerate(probabilities, start=number + number % 2)
        ),
    )


def _counts(step: int) -> ClassCounts:
    random = np.random.default_rng(step)
    right = random.integers(5, _SAMPLES_OF_A_CLASS, NUM_CLASSES).tolist()
    guesses = [(label + 1 + label % 7) % NUM_CLASSES for label in range(NUM_CLASSES)]
    wrong = [_SAMPLES_OF_A_CLASS - one for one in right]
    pairs = [(label, label, count) for label, count in enumerate(right)]
    pairs += list(zip(range(NUM_CLASSES), guesses, wrong, strict=True))
    worst = sorted(range(NUM_CLASSES), key=lambda label: -wrong[label])[:20]
    return ClassCounts(
        step=step,
        protocol="centre_crop",
        classes=tuple(
            ClassCount(
                label=label,
                name=class_name(label),
                num_samples=_SAMPLES_OF_A_CLASS,
                right=one,
                within_five=_SAMPLES_OF_A_CLASS,
            )
            for label, one in enumerate(right)
        ),
        confusion=None,
        pairs=tuple(pairs),
        worst_pairs=tuple(
            ConfusedPair(
                label=label,
                name=class_name(label),
                guess=guesses[label],
                guess_name=class_name(guesses[label]),
                count=wrong[label],
            )
            for label in worst
        ),
    )


def _path(attempt: AttemptDirectory, file: Path) -> str:
    return str(file.relative_to(attempt.run))
