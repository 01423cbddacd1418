"""Draws what there is of a step into its folder, and writes its index last."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from data_shards.errors import DataError
from trainer.checkpoints.checkpoint import load_weights
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import CheckpointError
from trainer.contract.durable import write_whole
from trainer.contract.pictures import (
    CLASSES_NAME,
    CONFUSION_NAME,
    INDEX_NAME,
    PAIRS_NAME,
    ClassCounts,
    ConfusionPairs,
    Guess,
    KernelPicture,
    ShownImage,
    StepPictures,
)
from trainer.contract.run_directory import AttemptDirectory
from trainer.evaluation.evaluate import Member
from trainer.learning.preprocess import Preprocess
from trainer.network.alexnet import AlexNet
from trainer.pictures.confusion import draw_confusion, has_confusion
from trainer.pictures.kernels import columns_of, draw_tower
from trainer.pictures.shown_images import NUM_SHOWN, Shown, open_shown, png, write_shown
from trainer.pictures.thinning import thin
from trainer.pictures.wanted import Wanted

_log = logging.getLogger(__name__)

_CPU = torch.device("cpu")
_TOP = 5


class Artist:
    """Draws an attempt's pictures; what keeps it from that is logged once of each kind."""

    def __init__(self, attempt: AttemptDirectory, order: AttemptOrder) -> None:
        self._attempt = attempt
        self._spec = order.spec
        self._shown: Shown | None = None
        self._logged: set[type[Exception]] = set()

    def draw(self, wanted: Wanted) -> StepPictures | None:
        """Draw a step; None where it could not be.

        Of a checkpoint that is gone by now the counts are left, if it was evaluated.
        """
        try:
            return self._draw(wanted)
        except (OSError, CheckpointError, ValidationError) as error:
            if not wanted.has_checkpoint or self._attempt.checkpoint(wanted.step).exists():
                self._log(error)
            elif wanted.has_classes:
                return self.draw(wanted.model_copy(update={"has_checkpoint": False}))
            return None

    def _draw(self, wanted: Wanted) -> StepPictures:
        folder = self._attempt.pictures_at(wanted.step)
        folder.mkdir(parents=True, exist_ok=True)
        towers: tuple[KernelPicture, ...] = ()
        images: tuple[ShownImage, ...] = ()
        if wanted.has_checkpoint:
            network = self._load(wanted.step)
            towers = self._draw_towers(folder, network)
            images = self._judge(network)
        classes = confusion = None
        if wanted.has_classes:
            classes = folder / CLASSES_NAME
            confusion = _draw_confusion(classes)
        pictures = StepPictures(
            attempt=self._attempt.number,
            step=wanted.step,
            epoch=wanted.epoch,
            towers=towers,
            images=images,
            classes=None if classes is None else self._path(classes),
            confusion=None if confusion is None else self._path(confusion),
        )
        write_whole(folder / INDEX_NAME, pictures.model_dump_json(indent=1).encode())
        thin(self._attempt, drawn=wanted.step)
        return pictures

    def _load(self, step: int) -> AlexNet:
        network = AlexNet(self._spec.model, [_CPU, _CPU])
        load_weights(self._attempt.checkpoint(step), dict(network.named_parameters()))
        return network

    def _draw_towers(self, folder: Path, network: AlexNet) -> tuple[KernelPicture, ...]:
        drawn = []
        for number, tower in enumerate(network.towers):
            # (n, 3, k, k)
            kernels = tower.get_parameter("conv1.weight").detach().numpy()
            picture = draw_tower(kernels)
            file = folder / f"tower-{number}.png"
            write_whole(file, png(picture))
            columns = columns_of(len(kernels))
            drawn.append(
                KernelPicture(
                    path=self._path(file),
                    num_kernels=len(kernels),
                    columns=columns,
                    rows=-(-len(kernels) // columns),
                    width=picture.width,
                    height=picture.height,
                )
            )
        return tuple(drawn)

    def _judge(self, network: AlexNet) -> tuple[ShownImage, ...]:
        try:
            shown = self._shown = self._shown or self._open_shown()
        except DataError as error:
            # The kernels need no images; these are tried again.
            self._log(error)
            return ()
        if not len(shown.batch.samples):
            return ()
        files = write_shown(shown, self._attempt)
        return judge(network, shown, [self._path(file) for file in files], self._spec.model.recipe)

    def _open_shown(self) -> Shown:
        return open_shown(self._spec.data, self._spec.model, seed=self._spec.seed)

    def _path(self, file: Path) -> str:
        return str(file.relative_to(self._attempt.run))

    def _log(self, error: Exception) -> None:
        if type(error) not in self._logged:
            self._logged.add(type(error))
            _log.warning("a step is not drawn, or not all of it, which harms nothing: %s", error)


@torch.no_grad()
def judge(
    network: AlexNet, shown: Shown, paths: Sequence[str], recipe: str
) -> tuple[ShownImage, ...]:
    """Return what a network takes each of the images for; `paths` are their pictures'."""
    preprocess = Preprocess(
        shown.mean_image,
        None,
        (_CPU, _CPU),
        torch.float32,
        centre_mean=recipe == "source2012",
    )
    member = Member(network, preprocess, (shown.view,))
    # (n, classes)
    probabilities = member.log_probabilities(shown.batch, micro_batch_size=NUM_SHOWN).exp().numpy()
    # Outputs that have no class are none to guess.
    probabilities = probabilities[:, : len(shown.names)]
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :_TOP]
    return tuple(
        ShownImage(
            path=path,
            sample=sample,
            label=label,
            name=shown.names[label],
            guesses=tuple(
                Guess(label=guess, name=shown.names[guess], probability=min(1.0, row[guess]))
                for guess in guesses
            ),
        )
        for path, sample, label, guesses, row in zip(
            paths,
            shown.batch.samples.tolist(),
            shown.batch.labels.tolist(),
            best.tolist(),
            probabilities.tolist(),
            strict=True,
        )
    )


def _draw_confusion(classes: Path) -> Path | None:
    counts = ClassCounts.model_validate_json(classes.read_bytes())
    pairs = classes.with_name(PAIRS_NAME)
    if pairs.exists():
        written = ConfusionPairs.model_validate_json(pairs.read_bytes())
        counts = counts.model_copy(update={"pairs": written.pairs})
    if not has_confusion(counts):
        return None
    file = classes.with_name(CONFUSION_NAME)
    write_whole(file, png(draw_confusion(counts)))
    return file
