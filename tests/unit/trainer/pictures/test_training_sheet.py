import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.trainer.running.packed import pack_pictures
from tests.unit.trainer.runs import add_attempt
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.thinning import thin
from trainer.pictures.training_sheet import SHEET_NAME, TrainingSheet


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("set"))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _spec(train: Path, **fields: object) -> JobSpec:
    data = {"train": str(train), "validation": "nowhere"}
    return JobSpec.model_validate({"name": "a job", "data": data, **fields})


def test_a_run_has_one_however_often_it_is_asked_for(run: RunDirectory, packed: Path) -> None:
    first = add_attempt(run)
    sheet = TrainingSheet(first, _spec(packed))
    sheet.draw()
    file = first.pictures / SHEET_NAME
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.width * image.height < 2_000_000
    file.write_bytes(b"kept")
    sheet.draw()
    thin(first, drawn=100)
    assert file.read_bytes() == b"kept"
    second = add_attempt(run)
    TrainingSheet(second, _spec(packed)).draw()
    assert not (second.pictures / SHEET_NAME).exists()
    assert not list(first.pictures.glob(".*"))


def test_a_set_that_is_away_is_logged_once_and_tried_again(
    run: RunDirectory, packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = add_attempt(run)
    sheet = TrainingSheet(attempt, _spec(tmp_path / "set"))
    for _ in range(2):
        sheet.draw()
    assert caplog.text.count("is not drawn, which harms nothing") == 1
    assert not (attempt.pictures / SHEET_NAME).exists()
    shutil.copytree(packed, tmp_path / "set")
    sheet.draw()
    assert (attempt.pictures / SHEET_NAME).exists()


def test_of_an_evaluation_there_is_none(run: RunDirectory, packed: Path) -> None:
    attempt = add_attempt(run)
    evaluation = {"checkpoints": ["job:1"]}
    TrainingSheet(attempt, _spec(packed, kind="evaluate", evaluation=evaluation)).draw()
    assert not attempt.pictures.exists()
