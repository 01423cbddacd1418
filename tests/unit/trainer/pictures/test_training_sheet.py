import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.trainer.running.packed import pack_pictures
from tests.unit.trainer.runs import add_attempt
from trainer.contract.pictures import SHEET_NAME, sheet_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.thinning import thin
from trainer.pictures.training_sheet import TrainingSheet

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("set"))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _spec(train: Path, **fields: object) -> JobSpec:
    data = {"train": str(train), "validation": "nowhere"}
    return JobSpec.model_validate({"name": "a job", "data": data, **fields})


def _draw(sheet: TrainingSheet) -> None:
    """Have it draw, and wait for its end."""
    thread = sheet.begin()
    if thread is not None:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def _idle() -> bool:
    return True


def test_a_run_has_one_however_often_it_is_asked_for(run: RunDirectory, packed: Path) -> None:
    first = add_attempt(run)
    sheet = TrainingSheet(first, _spec(packed), _idle)
    _draw(sheet)
    file = first.pictures / SHEET_NAME
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.width * image.height < 2_000_000
    file.write_bytes(b"kept")
    assert sheet.begin() is None
    thin(first, drawn=100)
    assert file.read_bytes() == b"kept"
    second = add_attempt(run)
    _draw(TrainingSheet(second, _spec(packed), _idle))
    assert not (second.pictures / SHEET_NAME).exists()
    assert sheet_of(run, [1, 2]) == f"attempts/0001/pictures/{SHEET_NAME}"
    assert sheet_of(run, [2]) is None
    assert not list(first.pictures.glob(".*"))


def test_a_set_that_is_away_is_logged_once_and_tried_again(
    run: RunDirectory, packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = add_attempt(run)
    sheet = TrainingSheet(attempt, _spec(tmp_path / "set"), _idle)
    for _ in range(2):
        _draw(sheet)
    assert caplog.text.count("is not drawn, which harms nothing") == 1
    assert not (attempt.pictures / SHEET_NAME).exists()
    shutil.copytree(packed, tmp_path / "set")
    _draw(sheet)
    assert (attempt.pictures / SHEET_NAME).exists()


def test_whatever_goes_wrong_it_is_tried_a_few_times(
    run: RunDirectory,
    packed: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[str] = []

    def damaged(location: str) -> None:
        tries.append(location)
        raise ZeroDivisionError("no error of ours")

    monkeypatch.setattr("trainer.pictures.training_sheet.open_set", damaged)
    sheet = TrainingSheet(add_attempt(run), _spec(packed), _idle)
    for _ in range(10):
        _draw(sheet)
    assert len(tries) == 3
    assert caplog.text.count("no error of ours") == 1


def test_between_two_images_it_waits_until_nothing_else_is_to_be_drawn(
    run: RunDirectory, packed: Path
) -> None:
    asked, may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def when_idle() -> bool:
        asked.release()
        return may_go_on.acquire(timeout=TIMEOUT_S)

    attempt = add_attempt(run)
    sheet = TrainingSheet(attempt, _spec(packed), when_idle)
    thread = sheet.begin()
    assert thread is not None
    # Before the set is opened, before each of 40 images, and before the sheet is written.
    for _ in range(42):
        assert asked.acquire(timeout=TIMEOUT_S)
        assert sheet.begin() is thread
        assert not attempt.pictures.exists()
        may_go_on.release()
    thread.join(TIMEOUT_S)
    assert (attempt.pictures / SHEET_NAME).exists()


def test_when_the_attempt_ends_it_is_given_up_without_a_word(
    run: RunDirectory, packed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = add_attempt(run)
    answers = iter([*[True] * 20, False])
    _draw(TrainingSheet(attempt, _spec(packed), lambda: next(answers)))
    assert list(answers) == []
    assert not attempt.pictures.exists()
    assert caplog.text == ""


def test_of_an_evaluation_there_is_none(run: RunDirectory, packed: Path) -> None:
    attempt = add_attempt(run)
    evaluation = {"checkpoints": ["job:1"]}
    spec = _spec(packed, kind="evaluate", evaluation=evaluation)
    assert TrainingSheet(attempt, spec, _idle).begin() is None
