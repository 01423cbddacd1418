import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tests.unit.trainer.runs import add_attempt, add_checkpoint, manifest_of, tensors_of
from trainer.checkpoints import checkpoint as module
from trainer.checkpoints.checkpoint import (
    Checkpointer,
    load_checkpoint,
    load_weights,
    take_snapshot,
    write_checkpoint,
)
from trainer.contract.attempt import Reason
from trainer.contract.checkpoint import CheckpointManifest
from trainer.contract.checkpoint_folder import (
    CheckpointError,
    latest_checkpoint,
    list_folders,
    measure,
    verify,
)
from trainer.contract.durable import DiskFullError
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.errors import NonFiniteWeightsError, StaleAttemptError, reason_of

FILES = ("model.safetensors", "velocity.safetensors")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def attempt(run: RunDirectory) -> AttemptDirectory:
    return add_attempt(run)


def _load(folder: Path) -> tuple[dict[str, torch.Tensor], ...]:
    weights = {name: torch.zeros_like(tensor) for name, tensor in tensors_of(0).items()}
    velocity = {name: torch.zeros_like(tensor) for name, tensor in tensors_of(0).items()}
    load_checkpoint(folder, weights, velocity)
    return weights, velocity


def test_what_is_loaded_is_what_was_written(attempt: AttemptDirectory) -> None:
    folder = add_checkpoint(attempt, 20, top1=0.75)
    weights, velocity = _load(folder)
    assert all(torch.equal(weights[name], tensors_of(20)[name]) for name in weights)
    assert all(torch.equal(velocity[name], tensors_of(-20)[name]) for name in velocity)
    verified = verify(folder).model_copy(update={"files": {}, "manifest_sha256": None})
    assert verified == manifest_of(20, top1=0.75)


def test_weights_are_loaded_alone_and_only_if_they_are_whole(
    attempt: AttemptDirectory,
) -> None:
    folder = add_checkpoint(attempt, 20)
    weights = {name: torch.zeros_like(tensor) for name, tensor in tensors_of(0).items()}
    assert load_weights(folder, weights).step == 20
    assert all(torch.equal(weights[name], tensors_of(20)[name]) for name in weights)
    (folder / "velocity.safetensors").unlink()
    assert load_weights(folder, weights).step == 20
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors has 0 bytes"):
        load_weights(folder, weights)


def test_manifest_holds_size_and_sha256_of_each_file(attempt: AttemptDirectory) -> None:
    folder = add_checkpoint(attempt, 20)
    manifest = json.loads((folder / "checkpoint.json").read_text())
    assert sorted(entry.name for entry in folder.iterdir()) == ["checkpoint.json", *FILES]
    for name in FILES:
        size_bytes, sha256 = measure(folder / name)
        assert manifest["files"][name] == {"size_bytes": size_bytes, "sha256": sha256}
    assert load_file(folder / FILES[0]).keys() == tensors_of(0).keys()


def test_a_snapshot_does_not_follow_the_training() -> None:
    weights = tensors_of(1)
    snapshot = take_snapshot(manifest_of(1), weights, weights)
    weights["fc8.bias"].add_(1)
    assert torch.equal(snapshot.weights["fc8.bias"], tensors_of(1)["fc8.bias"])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_name(attempt: AttemptDirectory, name: str) -> None:
    folder = add_checkpoint(attempt, 20)
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 0x10
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"step-00000020: {name} does not have the sha256"):
        _load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_missing_file_is_refused_by_name(
    attempt: AttemptDirectory, name: str
) -> None:
    folder = add_checkpoint(attempt, 20)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=f"{name} has {len(content) - 1} bytes"):
        _load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
        _load(folder)


def test_an_unknown_version_is_refused(attempt: AttemptDirectory) -> None:
    folder = add_checkpoint(attempt, 20)
    manifest = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**manifest, "version": 3}))
    with pytest.raises(CheckpointError, match=r"checkpoint\.json is not one of ours"):
        _load(folder)


def test_another_networks_tensors_are_refused(attempt: AttemptDirectory) -> None:
    folder = add_checkpoint(attempt, 20)
    wrong_shape = {**tensors_of(0), "fc8.bias": torch.zeros(6)}
    with pytest.raises(CheckpointError, match=r"fc8\.bias is \(5,\), not \(6,\)"):
        load_checkpoint(folder, wrong_shape, tensors_of(0))
    wrong_names = {**tensors_of(0), "conv6.bias": torch.zeros(6)}
    with pytest.raises(CheckpointError, match=r"does not fit the network: conv6\.bias"):
        load_checkpoint(folder, wrong_names, tensors_of(0))


class _DiedError(Exception):
    pass


@pytest.mark.parametrize("dying", ["save_file", "sync_file", "measure", "write_whole"])
def test_death_while_writing_leaves_the_last_one_latest(
    run: RunDirectory,
    attempt: AttemptDirectory,
    monkeypatch: pytest.MonkeyPatch,
    dying: str,
) -> None:
    whole = add_checkpoint(attempt, 10)

    def die(*_: object) -> None:
        raise _DiedError

    monkeypatch.setattr(module, dying, die)
    with pytest.raises(_DiedError):
        add_checkpoint(attempt, 20)
    monkeypatch.undo()
    # Nothing of it is left to fill the disk.
    assert list(attempt.checkpoints.iterdir()) == [whole]
    assert latest_checkpoint(run).damaged == ()


def test_half_a_checkpoint_is_none_and_gives_way(
    run: RunDirectory, attempt: AttemptDirectory
) -> None:
    whole = add_checkpoint(attempt, 10)
    half = attempt.checkpoints / ".step-00000020.partial"
    half.mkdir()
    (half / FILES[0]).write_bytes(b"half")
    assert list_folders(run) == [whole]
    later = add_checkpoint(attempt, 20)
    assert list_folders(run) == [later, whole]
    assert not half.exists()


def test_a_full_disk_is_named_and_no_fuller_than_before(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_tensors: object, file: Path) -> None:
        file.write_bytes(b"half")
        # The words of safetensors on a disk that is full.
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(module, "save_file", fill)
    with pytest.raises(
        DiskFullError,
        match=r"checkpoints/step-00000020 cannot be written: No space left on device; free space",
    ) as error:
        add_checkpoint(attempt, 20)
    assert reason_of(error.value) is Reason.NO_STORAGE
    assert list(attempt.checkpoints.iterdir()) == []


def test_safetensors_still_words_an_operating_systems_error_as_we_read_it(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_nowhere(tensors: dict[str, torch.Tensor], file: Path) -> None:
        save_file(tensors, file.parent / "nowhere" / file.name)

    monkeypatch.setattr(module, "save_file", save_nowhere)
    with pytest.raises(FileNotFoundError):
        add_checkpoint(attempt, 20)


def test_the_fence_may_stop_a_commit(run: RunDirectory, attempt: AttemptDirectory) -> None:
    def refuse() -> None:
        raise StaleAttemptError("attempt 1 is no longer current")

    snapshot = take_snapshot(manifest_of(10), tensors_of(1), tensors_of(2))
    with pytest.raises(StaleAttemptError):
        write_checkpoint(snapshot, attempt.checkpoint(10), refuse)
    assert list_folders(run) == []
    assert list(attempt.checkpoints.iterdir()) == []


def test_a_damaged_latest_gives_way_to_the_one_before(
    run: RunDirectory, attempt: AttemptDirectory
) -> None:
    whole, damaged = add_checkpoint(attempt, 10), add_checkpoint(attempt, 20)
    (damaged / FILES[0]).write_bytes(b"")
    latest = latest_checkpoint(run)
    assert latest.checkpoint is not None
    assert latest.checkpoint.folder == whole
    assert [error.folder for error in latest.damaged] == [damaged]


def _checkpointer(
    attempt: AttemptDirectory,
    *,
    check_fence: Callable[[], None] = lambda: None,
    on_saved: Callable[[Path, CheckpointManifest], None] = lambda *_: None,
) -> Checkpointer:
    return Checkpointer(attempt, check_fence=check_fence, on_saved=on_saved)


@pytest.mark.parametrize(
    ("of_velocity", "named"), [(False, "after step 20 fc8.bias"), (True, "velocity of fc8.bias")]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_written(
    run: RunDirectory, attempt: AttemptDirectory, of_velocity: bool, named: str, value: float
) -> None:
    weights, velocity = tensors_of(20), tensors_of(-20)
    (velocity if of_velocity else weights)["fc8.bias"][1] = value
    snapshot = take_snapshot(manifest_of(20), weights, velocity)
    with pytest.raises(NonFiniteWeightsError, match=named) as raised:
        write_checkpoint(snapshot, attempt.checkpoint(20), check_fence=lambda: None)
    assert reason_of(raised.value) is Reason.NONFINITE_LOSS
    assert list_folders(run) == []


def test_checkpointer_writes_beside_the_training(attempt: AttemptDirectory) -> None:
    may_commit, saved = threading.Event(), []

    def wait() -> None:
        assert may_commit.wait(60)

    with _checkpointer(
        attempt, check_fence=wait, on_saved=lambda folder, _: saved.append(folder)
    ) as checkpointer:
        weights = tensors_of(1)
        checkpointer.save(manifest_of(10), weights, tensors_of(2))
        weights["fc8.bias"].zero_()
        checkpointer.raise_if_failed()
        assert saved == []
        may_commit.set()
        checkpointer.wait()
        assert saved == [attempt.checkpoint(10)]
    assert torch.equal(_load(saved[0])[0]["fc8.bias"], tensors_of(1)["fc8.bias"])


def test_checkpointer_raises_in_the_training_what_the_writing_raised(
    attempt: AttemptDirectory,
) -> None:
    def refuse() -> None:
        raise StaleAttemptError("attempt 1 is no longer current")

    with _checkpointer(attempt, check_fence=refuse) as checkpointer:
        checkpointer.save(manifest_of(10), tensors_of(1), tensors_of(2))
        with pytest.raises(StaleAttemptError):
            checkpointer.save(manifest_of(20), tensors_of(1), tensors_of(2))
