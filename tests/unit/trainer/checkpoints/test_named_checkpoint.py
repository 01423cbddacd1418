from pathlib import Path

import pytest

from trainer.checkpoints.named_checkpoint import folder_at, refusing
from trainer.contract.attempt import RETRYABLE, Reason
from trainer.contract.checkpoint_folder import read_manifest
from trainer.errors import BadDataError, BadSpecError, reason_of


def test_a_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_at("field", "run/step-1") == tmp_path / "run/step-1"
    assert folder_at("field", str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        (
            "job:3f2a@100",
            "job:3f2a@100 is known to the service alone; name the checkpoint's folder",
        ),
        ("job:3f2a@last", "'job:3f2a@last' names no checkpoint"),
    ],
)
def test_a_job_is_none_here(location: str, problem: str) -> None:
    with pytest.raises(BadSpecError) as refusal:
        folder_at("init_from.checkpoint", location)
    assert str(refusal.value).startswith(f"init_from.checkpoint: {problem}")


def test_what_is_wrong_is_told_by_the_field_and_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(BadDataError) as refusal, refusing("init_from.checkpoint"):
        read_manifest(tmp_path)
    told = str(refusal.value)
    assert told.startswith(f"init_from.checkpoint: checkpoint {tmp_path}: checkpoint.json cannot")
    assert "; name one that is whole (`alexnet checkpoints` lists those" in told
    assert reason_of(refusal.value) is Reason.BAD_DATA
    assert Reason.BAD_DATA not in RETRYABLE
