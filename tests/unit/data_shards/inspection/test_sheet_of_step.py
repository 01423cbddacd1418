"""What is drawn of a step is what feeds a network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_shards.errors import PlanError
from data_shards.feeding.draws import colour_normals
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.inspection import sheet_of_step as module
from data_shards.inspection.contact_sheet import Tile, draw_sheet
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.sheet_of_step import (
    SheetOfStep,
    StepOfEpoch,
    presented,
    sheet_of_step,
    shifted,
)
from data_shards.manifest import load_manifest
from trainer.learning.preprocess import Colour, Preprocess


def step_of(folder: Path, *, epoch: int = 2, step: int = 1, **changes: Any) -> StepOfEpoch:
    fields: dict[str, Any] = {"seed": 5, "global_batch_size": 8, "crop_size": 24}
    fields |= {"num_streams": 4, "window": 2, **changes}
    plan = ReaderPlan(location=str(folder), **fields)
    return StepOfEpoch(plan=plan, epoch=epoch, step=step, colour_strength=0.1)


def drawn(
    folder: Path, asked: StepOfEpoch, monkeypatch: pytest.MonkeyPatch
) -> tuple[SheetOfStep, list[str], list[list[Tile]]]:
    """Draw a step; return the sheet, what it says of itself, and its tiles."""
    told: list[Any] = []

    def draw(title: str, facts: list[str], rows: list[list[Tile]]) -> Image.Image:
        told.extend((facts, rows))
        return draw_sheet(title, facts, rows)

    monkeypatch.setattr(module, "draw_sheet", draw)
    sheet = sheet_of_step(open_set(str(folder)), asked)
    return sheet, told[0], told[1]


# The last step of an epoch of 37 images has five.
@pytest.mark.parametrize(("step", "num_images"), [(1, 8), (4, 5)])
def test_it_is_what_a_network_is_given_but_for_the_mean_image(
    packed: Path, step: int, num_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = step_of(packed, step=step)
    sheet, _, rows = drawn(packed, asked, monkeypatch)
    assert (sheet.num_shown, sheet.num_images) == (num_images, num_images)
    tiles = [tile for row in rows for tile in row]
    pca = load_manifest(packed).rgb_pca
    cpu = torch.device("cpu")
    no_mean = np.zeros((32, 32, 3), dtype=np.float32)
    prepare = Preprocess(no_mean, Colour(pca, 0.1, "paper"), (cpu, cpu), torch.float32)
    with Reader(asked.plan, num_processes=1) as reader:
        first = 2 * reader.steps_per_epoch + step
        (batch,) = reader.batches(first, first + 1)
        places = np.flatnonzero(batch.real)
        # (n, 3, c, c) -> (n, c, c, 3)
        given = prepare(batch)[0].permute(0, 2, 3, 1).numpy()[places]
        images = presented(open_set(str(packed)), asked)
        assert [one.sample for one in images] == batch.samples[places].tolist()
        assert [list(one.offset) for one in images] == batch.offsets[places].tolist()
        assert [one.mirrored for one in images] == batch.mirrored[places].tolist()
    shown = [tile.image for tile in tiles[1::2]]
    np.testing.assert_array_equal(shown, np.clip(np.rint(given), 0, 255))


def test_it_is_what_another_recipe_gives_too(packed: Path) -> None:
    one = step_of(packed, random_crop=False, images_per_crop=32)
    asked = replace(one, colour_unit="deviation")
    images = presented(open_set(str(packed)), asked)
    # (32 - 24) // 2
    assert {image.offset for image in images} == {(4, 4)}
    assert len({image.mirrored for image in images}) == 1
    pca = load_manifest(packed).rgb_pca
    axes = Colour(pca, 0.1, "source2012").axes()
    samples = np.array([image.sample for image in images])
    normals = colour_normals(samples, seed=5, epoch=2)
    np.testing.assert_allclose([image.shift for image in images], normals @ axes, rtol=1e-5)
    none = step_of(packed, mirror=False)
    assert not any(image.mirrored for image in presented(open_set(str(packed)), none))


def test_each_stands_beside_its_source_whose_crop_is_bright(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = step_of(packed)
    _, facts, rows = drawn(packed, asked, monkeypatch)
    assert [len(row) for row in rows] == [8, 8]
    for told in (
        "8 of the 8 images of step 1 in epoch 2",
        "seed 5",
        "crops of 24×24 from 32×32",
        "half of them mirrored",
    ):
        assert told in facts
    one = presented(open_set(str(packed)), asked)[0]
    source, made = rows[0][:2]
    assert source.note.endswith(f"sample {one.sample}")
    row, column = one.offset
    assert made.caption == f"row {row}, column {column}" + (", mirrored" if one.mirrored else "")
    assert source.image is not None
    crop = source.image[row : row + 24, column : column + 24]
    np.testing.assert_array_equal(
        shifted(crop[:, ::-1] if one.mirrored else crop, one.shift), made.image
    )
    pale = np.ones((32, 32), dtype=np.bool_)
    pale[row : row + 24, column : column + 24] = False
    assert source.image[pale].min() >= 170


def test_of_a_large_step_some_of_every_stream_are_shown(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = step_of(packed, step=0, global_batch_size=36)
    monkeypatch.setattr(module, "MAX_SHOWN", 4)
    sheet, _, rows = drawn(packed, asked, monkeypatch)
    assert (sheet.num_shown, sheet.num_images) == (4, 36)
    images = presented(open_set(str(packed)), asked)
    samples = [int(tile.note.rpartition(" ")[2]) for tile in rows[0][::2]]
    assert samples == [images[place].sample for place in (0, 9, 18, 27)]


def test_what_cannot_be_read_is_a_placeholder_that_weighs_zero(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in load_manifest(own_copy).shards:
        (own_copy / shard.name).unlink()
    _, _, rows = drawn(own_copy, step_of(own_copy), monkeypatch)
    source, made = rows[0][:2]
    assert source.problem.endswith("is missing")
    assert (made.image, made.problem) == (None, "weighs zero")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": 5}, "an epoch has 5 steps"),
        ({"crop_size": 33}, "does not fit images of 32"),
        ({"num_streams": 3}, "3 streams do not divide"),
    ],
)
def test_what_does_not_fit_is_told(packed: Path, changes: dict[str, int], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        sheet_of_step(open_set(str(packed)), step_of(packed, **changes))
