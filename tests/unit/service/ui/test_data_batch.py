"""How a batch is asked for, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data_shards.__main__ import app
from data_shards.commands import batch as command
from data_shards.feeding.colour import colour_axes
from data_shards.inspection.opened_set import OpenedSet
from data_shards.inspection.sheet_of_step import SheetOfStep, StepOfEpoch
from data_shards.manifest import RgbPca
from service.ui.data_batch import DrawnBatch, options_of
from tests.unit.service.conftest import make_spec, write_manifest
from trainer.devices.replicas import Replicas
from trainer.learning.preprocess import Colour
from trainer.running.datasets import _train_plan

TOLD: dict[str, Any] = {"seed": 7, "epoch": 1, "step": 0, "streams": 8, "window": 4, "batch": 128}
TOLD |= {"image_size": 256, "crop_size": 224, "colour": 0.1, "recipe": "paper"}
TOLD |= {"random_crop": True, "mirror": True, "num_shown": 32, "num_images": 128}
PCA = RgbPca(eigenvalues=(4, 2, 1), eigenvectors=((1, 0, 0), (0, 1, 0), (0, 0, 1)))


def drawn(**changes: Any) -> DrawnBatch:
    return DrawnBatch.model_validate(TOLD | changes)


@pytest.mark.parametrize(
    ("fields", "step", "of_epoch"),
    [
        ({}, 0, (0, 0)),
        ({"seed": 2**32 - 1, "optim": {"global_batch_size": 8}}, 7, (2, 1)),
        ({"data": {"num_streams": 2, "window": 1}, "augment": {"colour_strength": 0}}, 1, (1, 0)),
        ({"augment": {"crop": False, "mirror": False, "colour_strength": 0.25}}, 0, (0, 0)),
        ({"model": {"input_size": 64, "recipe": "source2012"}}, 5, (5, 0)),
    ],
)
def test_what_is_asked_for_is_what_a_job_is_fed(
    fields: dict[str, Any],
    step: int,
    of_epoch: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write_manifest(tmp_path / "set", image_size=256)
    data = {"train": str(file), "validation": str(file)} | fields.get("data", {})
    spec = make_spec(**{**fields, "data": data})
    asked: list[StepOfEpoch] = []

    def draw(_opened: OpenedSet, one: StepOfEpoch) -> SheetOfStep:
        asked.append(one)
        return SheetOfStep(image=Image.new("RGB", (1, 1)), num_shown=1, num_images=1)

    monkeypatch.setattr(command, "sheet_of_step", draw)
    # Of 20 samples.
    options = options_of(spec, step, num_samples=20)
    arguments = ["batch", "--json", *options, "--", str(file.parent), str(tmp_path / "batch.png")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    [one] = asked
    assert (one.epoch, one.step) == of_epoch
    fed = _train_plan(spec, Replicas())
    assert one.plan == fed
    strength, recipe = spec.augment.colour_strength, spec.model.recipe
    shifts = Colour(pca=PCA, strength=strength, recipe=recipe).axes()
    np.testing.assert_array_equal(colour_axes(PCA, one.colour_strength, one.colour_unit), shifts)
    told = DrawnBatch.model_validate(json.loads(done.stdout))
    assert (told.recipe, told.mirror, told.random_crop) == (
        recipe,
        spec.augment.mirror,
        spec.augment.crop,
    )


def test_the_caption_says_what_was_done() -> None:
    caption = drawn().caption
    for told in (
        "Step 0 of epoch 1, both counted from 0, of seed 7 and the recipe paper",
        "32 of the 128 images",
        "Crops of 224 × 224 from 256 × 256 pixels, half of them mirrored, then colour",
        "of strength 0.1 (the paper",
        "the mean image is not subtracted here.",
    ):
        assert told in caption


def test_what_is_not_done_is_not_told() -> None:
    caption = drawn(random_crop=False, mirror=False, colour=0).caption
    assert "Centre crops of 224 × 224 from 256 × 256 pixels, none mirrored, their colour" in caption
    assert "strength" not in caption


def test_what_the_2012_source_does_otherwise_is_told() -> None:
    caption = drawn(recipe="source2012").caption
    for told in ("32 images in a row alike", "0.1 standard deviations", "nor all divided by 1.1"):
        assert told in caption


@pytest.mark.parametrize(
    ("random_crop", "mirror", "is_alike"),
    [(True, True, True), (True, False, True), (False, True, True), (False, False, False)],
)
def test_images_in_a_row_are_alike_only_where_something_is_drawn_for_them(
    random_crop: bool, mirror: bool, is_alike: bool
) -> None:
    one = drawn(recipe="source2012", random_crop=random_crop, mirror=mirror)
    assert ("alike" in one.caption) == is_alike
    assert "alike" not in drawn(random_crop=random_crop, mirror=mirror).caption


def test_where_all_are_shown_none_are_left_out() -> None:
    one = drawn(num_shown=20, num_images=20)
    assert ": 20 images, each beside its source" in one.caption
    assert one.alt.startswith("20 images of a batch in pairs")
