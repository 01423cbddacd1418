"""An attempt looks again at where its data lie."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.contract.attempt import AttemptOrder, Reason
from trainer.contract.spec import DataSpec, JobSpec
from trainer.errors import BadSpecError
from trainer.running.replica import failure, refuse_outside_roots


@pytest.fixture
def order(job: Callable[..., JobSpec], tmp_path: Path) -> Callable[..., AttemptOrder]:
    def make(train: str, roots: tuple[str, ...] | None) -> AttemptOrder:
        data = DataSpec(train=train, validation=str(tmp_path / "data" / "validation"))
        return AttemptOrder(
            job_id="job",
            attempt=1,
            spec=job(data=data),
            accelerator="cpu",
            resume_from=None,
            data_roots=roots,
        )

    return make


def test_a_link_laid_since_the_job_was_accepted_is_refused(
    order: Callable[..., AttemptOrder], tmp_path: Path
) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret"
    for folder in (data / "train", data / "validation", secret):
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    told = order(str(data / "train" / "manifest.json"), (str(data),))
    refuse_outside_roots(told)
    shutil.rmtree(data / "train")
    (data / "train").symlink_to(secret)
    with pytest.raises(BadSpecError, match=r"^data\.train: .* lies outside") as refused:
        refuse_outside_roots(told)
    assert failure(refused.value).reason is Reason.BAD_SPEC


def test_a_url_outside_the_roots_is_refused(
    order: Callable[..., AttemptOrder], tmp_path: Path
) -> None:
    roots = ("s3://bucket/sets", str(tmp_path))
    refuse_outside_roots(order("s3://bucket/sets/train/manifest.json", roots))
    with pytest.raises(BadSpecError, match=r"^data\.train: .* lies outside s3://bucket/sets"):
        refuse_outside_roots(order("s3://bucket/other/train/manifest.json", roots))
    with pytest.raises(BadSpecError, match="'http' is not read"):
        refuse_outside_roots(order("http://169.254.169.254/manifest.json", roots))


def test_a_run_of_ones_own_may_read_anything(order: Callable[..., AttemptOrder]) -> None:
    refuse_outside_roots(order("/anywhere", None))
