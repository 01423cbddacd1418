"""Pictures of real runs of `python -m trainer`: of each checkpoint, and whatever is killed."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.acceptance.product import ledger_lines
from tests.integration.trainer.conftest import (
    NUM_VALIDATION_IMAGES,
    Shards,
    command,
    final_weights,
    train,
    write_job,
)
from tests.waiting import wait_for
from trainer.contract.pictures import SHEET_NAME, classes_of, curves_of, pictures_of
from trainer.contract.report import TrainingReport
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

NUM_STEPS = 104
STEPS_PER_EPOCH = 26
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def job(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("job"), shards)


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    done = train(job, run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_a_run_ends_with_pictures_of_its_checkpoints(undisturbed: Path) -> None:
    run = RunDirectory(undisturbed)
    pictures = pictures_of(run)
    steps = [one.step for one in pictures]
    # Those that came while others were drawn are left out, the last never.
    assert steps[-1] == NUM_STEPS
    assert set(steps) <= {*range(0, NUM_STEPS, 10), *range(0, NUM_STEPS + 1, STEPS_PER_EPOCH)}
    # Of a checkpoint that was deleted before its turn the counts are left; the last stays.
    whole = [one for one in pictures if one.towers]
    assert all(one.classes for one in pictures if one not in whole)
    assert whole[-1] == pictures[-1]
    shown = {tuple((image.path, image.label) for image in one.images) for one in whole}
    assert len(shown) == 1
    for one in whole:
        assert [tower.num_kernels for tower in one.towers] == [6, 6]
        assert len(one.images) == 8
        files = [*(tower.path for tower in one.towers), *(image.path for image in one.images)]
        for file in files:
            Image.open(undisturbed / file).verify()
    # There is one where there was time for it.
    for sheet in run.attempt(1).pictures.glob(SHEET_NAME):
        Image.open(sheet).verify()
    drawn = curves_of(run, [1])
    assert drawn is not None
    assert "Top-1, centre crop" in (undisturbed / drawn).read_text()
    # The kernels form.
    first, last = (np.asarray(Image.open(undisturbed / whole[at].towers[0].path)) for at in (0, -1))
    assert len(whole) == 1 or (first != last).any()
    # Nothing is left in the making.
    assert set(run.attempt(1).pictured()) == set(steps)
    assert not list(run.attempt(1).pictures.rglob(".*"))


def test_the_last_step_has_the_counts_of_its_evaluation(undisturbed: Path) -> None:
    run = RunDirectory(undisturbed)
    last = pictures_of(run)[-1]
    counts = classes_of(run, last)
    assert counts is not None
    report = TrainingReport.model_validate_json(run.report.read_bytes())
    total = NUM_VALIDATION_IMAGES
    assert sum(one.num_samples for one in counts.classes) == total
    assert sum(one.right for one in counts.classes) == round(report.top1 * total)
    assert sum(one.within_five for one in counts.classes) == round(report.top5 * total)
    assert counts.confusion is not None
    assert [row[label] for label, row in enumerate(counts.confusion)] == [
        one.right for one in counts.classes
    ]
    assert last.confusion is not None
    Image.open(undisturbed / last.confusion).verify()


def test_pictures_change_no_bit_and_may_be_left_off(
    job: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_PICTURES", "off")
    done = train(job, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert final_weights(tmp_path / "run") == final_weights(undisturbed)
    assert pictures_of(RunDirectory(tmp_path / "run")) == []


def _drawing(process: "subprocess.Popen[str]") -> psutil.Process | None:
    """Return the process that draws, once there is one."""
    assert process.poll() is None, "it ended before it drew"
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "trainer.pictures" in child.cmdline():
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def test_nothing_happens_to_training_when_the_process_that_draws_is_killed(
    job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with subprocess.Popen(
        command(job, run_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        drawing = wait_for("one that draws", lambda: _drawing(process), timeout_s=TIMEOUT_S)
        drawing.kill()
        printed, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, said
    assert json.loads(printed) == {"outcome": "succeeded", "step": NUM_STEPS}
    assert final_weights(run_dir) == final_weights(undisturbed)
    # Another has drawn the last.
    assert pictures_of(RunDirectory(run_dir))[-1].step == NUM_STEPS
    log = RunDirectory(run_dir).attempt(1).log.read_text()
    assert log.count("the process that draws ended (exit code -9), which harms nothing") == 1


def test_a_process_that_draws_ends_with_a_killed_attempt_and_the_next_goes_on(
    job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run = RunDirectory(run_dir)
    with subprocess.Popen(
        command(job, run_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    ) as process:
        drawing = wait_for("one that draws", lambda: _drawing(process), timeout_s=TIMEOUT_S)
        wait_for("step 40", lambda: ledger_lines(run.attempt(1).path)[40:], timeout_s=TIMEOUT_S)
        assert not drawing.net_connections(kind="inet")
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT_S)
    _, alive = psutil.wait_procs([drawing], timeout=TIMEOUT_S)
    assert not alive
    # As one that was killed half-way may leave it.
    broken = run.attempt(1).pictures_at(30)
    shutil.rmtree(broken, ignore_errors=True)
    broken.mkdir(parents=True)
    (broken / "tower-0.png").write_bytes(b"\x89PNG")
    done = train(job, run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    pictures = pictures_of(run)
    assert 30 not in [one.step for one in pictures]
    assert (pictures[-1].step, pictures[-1].attempt) == (NUM_STEPS, 2)
    assert final_weights(run_dir) == final_weights(undisturbed)
