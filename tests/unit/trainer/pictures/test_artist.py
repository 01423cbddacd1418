import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.trainer.running.packed import STORED, pack_pictures
from tests.unit.trainer.trained_runs import write_run
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import read_order, replace_order
from trainer.contract.pictures import (
    CLASSES_NAME,
    INDEX_NAME,
    PAIRS_NAME,
    ClassCount,
    ClassCounts,
    ConfusionPairs,
    classes_of,
    pictures_of,
)
from trainer.contract.run_directory import RunDirectory
from trainer.network.alexnet import AlexNet
from trainer.pictures.artist import Artist
from trainer.pictures.confusion import draw_confusion
from trainer.pictures.kernels import draw_tower
from trainer.pictures.thinning import thin
from trainer.pictures.wanted import Wanted

STEP = 20
WANTED = Wanted(step=STEP, epoch=2.0, has_checkpoint=True, has_classes=False)

Models = Callable[..., ModelSpec]
Networks = Callable[..., AlexNet]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("set"))


@pytest.fixture
def network(small_network: Networks) -> AlexNet:
    return small_network(num_classes=3)


@pytest.fixture
def run(tmp_path: Path, packed: Path, network: AlexNet, small_model: Models) -> RunDirectory:
    """A run with a checkpoint, of three outputs for two classes."""
    run = RunDirectory(tmp_path / "run")
    write_run(run, packed, network, small_model(num_classes=3), step=STEP)
    attempt = run.attempt(1)
    order = read_order(attempt)
    data = order.spec.data.model_copy(update={"validation": str(packed)})
    spec = order.spec.model_copy(update={"data": data})
    replace_order(attempt, order.model_copy(update={"spec": spec}))
    return run


def _artist(run: RunDirectory) -> Artist:
    return Artist(run.attempt(1), read_order(run.attempt(1)))


def test_a_checkpoint_is_drawn_with_its_guesses(
    run: RunDirectory, network: AlexNet, packed: Path
) -> None:
    drawn = _artist(run).draw(WANTED)
    assert pictures_of(run) == [drawn]
    assert drawn is not None
    assert (drawn.step, drawn.epoch, drawn.attempt, drawn.classes) == (STEP, 2.0, 1, None)
    for tower, picture in zip(network.towers, drawn.towers, strict=True):
        image = Image.open(run.path / picture.path)
        assert (image.width, image.height, picture.num_kernels) == (
            picture.width,
            picture.height,
            6,
        )
        expected = draw_tower(tower.get_parameter("conv1.weight").detach().numpy())
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    assert len(drawn.images) == 8
    mean = np.load(
        packed / json.loads((packed / "manifest.json").read_text())["mean_image"]["name"]
    )
    first = (STORED - 64) // 2
    for shown in drawn.images:
        seen = np.asarray(Image.open(run.path / shown.path)).astype(np.float32)
        x = torch.from_numpy(seen - mean[first : first + 64, first : first + 64])
        x = x.permute(2, 0, 1)[None]
        with torch.no_grad():
            probabilities = network((x, x)).double().softmax(1)[0, :2].tolist()
        assert shown.name == f"class-{shown.label}"
        # Of two classes there are two guesses, and an output without a class is none.
        best = sorted(range(2), key=probabilities.__getitem__, reverse=True)
        assert [guess.label for guess in shown.guesses] == best
        assert [guess.probability for guess in shown.guesses] == pytest.approx(
            [probabilities[label] for label in best], rel=1e-4
        )


def test_kernels_are_drawn_where_the_images_are_away_and_that_is_logged_once(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    order = read_order(run.attempt(1))
    data = order.spec.data.model_copy(update={"validation": "nowhere"})
    away = order.model_copy(update={"spec": order.spec.model_copy(update={"data": data})})
    artist = Artist(run.attempt(1), away)
    for _ in range(2):
        drawn = artist.draw(WANTED)
        assert drawn is not None
        assert (len(drawn.towers), drawn.images) == (2, ())
    assert caplog.text.count("nowhere") == 1


def _counts() -> ClassCounts:
    return ClassCounts(
        step=STEP,
        protocol="centre_crop",
        classes=tuple(
            ClassCount(label=label, name=name, num_samples=4, right=3, within_five=4)
            for label, name in enumerate("ab")
        ),
        confusion=((3, 1), (1, 3)),
        worst_pairs=(),
    )


def test_an_evaluation_is_drawn_beside_its_counts(run: RunDirectory) -> None:
    counts = _counts()
    folder = run.attempt(1).pictures_at(STEP)
    folder.mkdir(parents=True)
    (folder / CLASSES_NAME).write_text(counts.model_dump_json())
    wanted = WANTED.model_copy(update={"has_checkpoint": False, "has_classes": True})
    drawn = _artist(run).draw(wanted)
    assert drawn is not None
    assert (drawn.towers, drawn.images) == ((), ())
    assert drawn.confusion is not None
    with Image.open(run.path / drawn.confusion) as confusion:
        assert confusion.mode == "RGBA"
    # Of many classes there is no such picture.
    many = counts.model_copy(update={"confusion": None})
    (folder / CLASSES_NAME).write_text(many.model_dump_json())
    drawn = _artist(run).draw(wanted)
    assert drawn is not None
    assert (drawn.confusion, drawn.classes) == (
        None,
        f"attempts/0001/pictures/{folder.name}/{CLASSES_NAME}",
    )


def test_the_pairs_of_many_classes_are_drawn_and_go_with_their_step(run: RunDirectory) -> None:
    attempt = run.attempt(1)
    folder = attempt.pictures_at(STEP)
    folder.mkdir(parents=True)
    matrix = _counts()
    many = matrix.model_copy(update={"confusion": None})
    (folder / CLASSES_NAME).write_text(many.model_dump_json())
    pairs = ConfusionPairs(pairs=((0, 0, 3), (0, 1, 1), (1, 0, 1), (1, 1, 3)))
    (folder / PAIRS_NAME).write_text(pairs.model_dump_json())
    wanted = WANTED.model_copy(update={"has_checkpoint": False, "has_classes": True})
    drawn = _artist(run).draw(wanted)
    assert drawn is not None
    assert drawn.confusion is not None
    picture = np.asarray(Image.open(run.path / drawn.confusion))
    np.testing.assert_array_equal(picture, np.asarray(draw_confusion(matrix)))
    assert classes_of(run, drawn) == many
    assert (folder / PAIRS_NAME).exists()
    # Half drawn, it is too much once a later step is.
    (folder / INDEX_NAME).unlink()
    thin(attempt, drawn=STEP + 1)
    assert not folder.exists()


def test_a_checkpoint_that_was_deleted_meanwhile_is_left_out_without_a_word(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(run.attempt(1).checkpoint(STEP))
    assert _artist(run).draw(WANTED) is None
    assert pictures_of(run) == []
    assert caplog.text == ""


def test_the_counts_of_an_evaluation_outlive_its_checkpoint(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(run.attempt(1).checkpoint(STEP))
    counts = _counts()
    folder = run.attempt(1).pictures_at(STEP)
    folder.mkdir(parents=True)
    (folder / CLASSES_NAME).write_text(counts.model_dump_json())
    drawn = _artist(run).draw(WANTED.model_copy(update={"has_classes": True}))
    assert drawn is not None
    assert (drawn.towers, drawn.images) == ((), ())
    assert classes_of(run, drawn) == counts
    assert caplog.text == ""


def test_a_damaged_checkpoint_and_a_disk_in_trouble_are_logged_once(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = run.attempt(1).checkpoint(STEP) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    artist = _artist(run)
    assert [artist.draw(WANTED) for _ in range(3)] == [None] * 3
    assert caplog.text.count("model.safetensors has") == 1
    caplog.clear()
    file.write_bytes(content)

    def full(path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("trainer.pictures.artist.write_whole", full)
    assert [artist.draw(WANTED) for _ in range(3)] == [None] * 3
    assert caplog.text.count("No space left") == 1
    assert not (run.attempt(1).pictures_at(STEP) / INDEX_NAME).exists()
    monkeypatch.undo()
    assert artist.draw(WANTED) is not None
