import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.contract.checkpoint import MANIFEST_NAME, WEIGHTS_NAME
from trainer.contract.checkpoint_folder import (
    CheckpointError,
    latest_checkpoint,
    list_folders,
    measure,
    read_manifest,
    verify,
)
from trainer.contract.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_a_run_without_checkpoints_has_no_latest(run: RunDirectory) -> None:
    assert list_folders(run) == []
    add_attempt(run)
    assert list_folders(run) == []
    assert latest_checkpoint(run).checkpoint is None


def test_the_lineage_leaves_out_what_was_trained_again(run: RunDirectory) -> None:
    first = add_attempt(run)
    one, two, _ = (add_checkpoint(first, step) for step in (1, 2, 3))
    second = add_attempt(run, resume_from=two)
    four = add_checkpoint(second, 4)
    # The one it went on from is of both.
    assert list_folders(run) == [four, two, one]
    assert list_folders(run, [1]) == [first.checkpoint(3), two, one]


def test_of_equal_steps_the_later_attempts_is_first(run: RunDirectory) -> None:
    first = add_attempt(run)
    one = add_checkpoint(first, 1)
    second = add_attempt(run, resume_from=one)
    again = add_checkpoint(second, 1)
    assert list_folders(run) == [again, one]


@pytest.mark.parametrize(
    "name",
    [
        "step-00000010.bak",
        "step-00000010 (copy)",
        "step-10x",
        "step-",
        "step-\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",  # digits to Unicode
        ".step-00000020.partial",
        ".step-00000010.deleted",
        "old-step-00000010",
    ],
)
def test_a_copy_by_another_name_does_no_harm(run: RunDirectory, name: str) -> None:
    attempt = add_attempt(run)
    folder = add_checkpoint(attempt, 10)
    shutil.copytree(folder, attempt.checkpoints / name)
    assert list_folders(run) == [folder]
    latest = latest_checkpoint(run)
    assert latest.checkpoint is not None
    assert (latest.checkpoint.folder, latest.damaged) == (folder, ())


def test_a_step_of_more_digits_is_the_latest(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    folders = [add_checkpoint(attempt, step) for step in (123_456_789, 99_999_999)]
    assert list_folders(run) == folders


def test_an_attempt_that_never_began_does_no_harm(run: RunDirectory) -> None:
    folder = add_checkpoint(add_attempt(run), 10)
    second = run.attempt(2)
    second.path.mkdir()
    second.order.write_bytes(b"")
    latest = latest_checkpoint(run)
    assert latest.checkpoint is not None
    assert latest.checkpoint.folder == folder


def test_a_file_by_a_checkpoints_name_is_refused_and_passed_over(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    whole = add_checkpoint(attempt, 10)
    attempt.checkpoint(20).write_bytes(b"")
    latest = latest_checkpoint(run)
    assert latest.checkpoint is not None
    assert latest.checkpoint.folder == whole
    assert [error.folder for error in latest.damaged] == [attempt.checkpoint(20)]


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EACCES, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("name", [MANIFEST_NAME, WEIGHTS_NAME])
def test_a_disk_that_is_away_for_a_moment_is_no_damage(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    attempt = add_attempt(run)
    add_checkpoint(attempt, 10)
    latest = add_checkpoint(attempt, 20)
    with monkeypatch.context() as patch:
        opened = Path.open

        def refuse(file: Path, *arguments: Any, **more: Any) -> Any:
            if file == latest / name:
                raise OSError(code, "the file server is away", str(file))
            return opened(file, *arguments, **more)

        patch.setattr(Path, "open", refuse)
        with pytest.raises(OSError, match="is away") as raised:
            latest_checkpoint(run)
        assert raised.value.errno == code
    found = latest_checkpoint(run)
    assert found.checkpoint is not None
    assert (found.checkpoint.folder, found.damaged) == (latest, ())


@pytest.mark.parametrize("spoil", [lambda file: None, lambda file: file.mkdir()])
def test_a_file_that_is_gone_or_is_none_is_damage(
    run: RunDirectory, spoil: Callable[[Path], None]
) -> None:
    folder = add_checkpoint(add_attempt(run), 10)
    (folder / WEIGHTS_NAME).unlink()
    spoil(folder / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=WEIGHTS_NAME):
        verify(folder)


def test_a_manifest_of_other_files_is_refused(run: RunDirectory) -> None:
    folder = add_checkpoint(add_attempt(run), 10)
    manifest = read_manifest(folder)
    one_file = dict(list(manifest.files.items())[:1])
    fewer = manifest.model_copy(update={"files": one_file}).sealed()
    (folder / "checkpoint.json").write_text(fewer.model_dump_json())
    with pytest.raises(CheckpointError, match=r"holds \['model\.safetensors'\]"):
        verify(folder)


def test_whatever_bit_of_a_manifest_is_flipped_it_says_the_same_or_is_refused(
    run: RunDirectory,
) -> None:
    folder = add_checkpoint(add_attempt(run), 10)
    file = folder / "checkpoint.json"
    whole, manifest = file.read_bytes(), read_manifest(folder)
    num_refused = 0
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        try:
            assert read_manifest(folder) == manifest
        except CheckpointError:
            num_refused += 1
    # The rest is of the layout.
    assert num_refused > 7 * len(whole)


def _problem(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        read_manifest(folder)
    assert refused.value.folder == folder
    return refused.value.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"version": 1, "a": "x"}', "job_id: Field required"),
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "Input should be an object"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_told_in_a_line(
    tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "checkpoint.json").write_text(content)
    assert _problem(tmp_path) == f"checkpoint.json is not one of ours: {problem}"


def test_a_manifest_that_is_not_there_says_whether_its_folder_is(tmp_path: Path) -> None:
    assert _problem(tmp_path) == "checkpoint.json cannot be read: the folder holds none"
    told = _problem(tmp_path / "step-00000010")
    assert "there is no such folder (a job that trains on deletes all but its latest" in told


def test_a_manifest_without_end_is_not_read(tmp_path: Path) -> None:
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    for folder in (pipe, huge):
        folder.mkdir()
    os.mkfifo(pipe / "checkpoint.json")
    with (huge / "checkpoint.json").open("wb") as file:
        file.truncate(1 << 40)
    for folder in (pipe, huge):
        assert "it is no file of at most 16,777,216 bytes" in _problem(folder)


def test_measure_counts_every_byte(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert measure(file) == (
        3,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
