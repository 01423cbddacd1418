"""Training from an object store: the weights of the local set, and what a bad day of it does."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_shards.errors import StorageDownError
from data_shards.storage.folder import open_folder
from data_shards.storage.node_cache import node_cache
from tests.flaky_store import Faults, flaky
from tests.integration.trainer.attempts import World, attempt_of
from tests.integration.trainer.conftest import (
    NUM_TRAINING_IMAGES,
    Shards,
    final_weights,
    write_job,
)
from tests.object_store import ObjectStore, forget_clients
from trainer.attempt.ledger import entries
from trainer.contract.attempt import RETRYABLE, Reason
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.running.local import read_spec
from trainer.running.replica import failure

pytestmark = pytest.mark.slow

STEPS_PER_EPOCH, EPOCHS = 13, 2


def spec_for(folder: Path, train: str, validation: str) -> JobSpec:
    folder.mkdir()
    data = {"train": train, "validation": validation, "num_streams": 4, "window": 1}
    job = write_job(
        folder,
        Shards(Path(train), Path(validation)),
        data=data,
        optim={"global_batch_size": 32, "epochs": EPOCHS},
        checkpoint={"interval_steps": 5},
    )
    return read_spec(job)


@pytest.fixture(scope="module")
def undisturbed(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights that the set on disk gives."""
    root = tmp_path_factory.mktemp("undisturbed")
    spec = spec_for(root / "job", str(shards.train), str(shards.validation))
    attempt_of(spec, root / "run", World())
    return final_weights(root / "run")


@pytest.fixture
def remote(shards: Shards, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    """The job on the same set in an object store, which this node has nothing of yet."""
    monkeypatch.setenv("ALEXNET_SHARD_CACHE", str(tmp_path / "cache"))
    urls = []
    for manifest in (shards.train, shards.validation):
        url = f"{bucket}/sets/{manifest.parent.name}"
        for file in manifest.parent.iterdir():
            open_folder(url).put(file, file.name)
        urls.append(f"{url}/manifest.json")
    return spec_for(tmp_path / "job", *urls)


@pytest.fixture
def faults(
    remote: JobSpec, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Faults]:
    """What goes wrong between this process, its children, and the store."""
    assert remote.data.train.startswith("s3://")
    with flaky(object_store, seed=1) as (proxy, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        yield faults
    forget_clients()


def presented(run: Path) -> Counter[int]:
    """How often each sample was trained on, by committed steps."""
    lines = [entry.line for entry in entries(run) if entry.counts]
    assert sorted(line.step for line in lines) == list(range(EPOCHS * STEPS_PER_EPOCH))
    return Counter(sample for line in lines for sample in line.samples)


EACH_ONCE_AN_EPOCH = Counter(dict.fromkeys(range(NUM_TRAINING_IMAGES), EPOCHS))


def test_a_slow_store_that_refuses_and_breaks_off_changes_nothing(
    remote: JobSpec, faults: Faults, undisturbed: str, tmp_path: Path
) -> None:
    attempt_of(remote, tmp_path / "run", World())
    assert final_weights(tmp_path / "run") == undisturbed
    assert presented(tmp_path / "run") == EACH_ONCE_AN_EPOCH
    assert min(faults.counted[fault] for fault in ("refuse", "cut", "late")) > 0
    counted = node_cache().counters()
    assert counted.evictions == 0
    assert counted.fetches == len(list((tmp_path / "cache").glob(64 * "?")))


def test_a_store_that_stays_down_fails_the_attempt_and_the_next_goes_on(
    remote: JobSpec, faults: Faults, undisturbed: str, tmp_path: Path
) -> None:
    world = World()
    run = tmp_path / "run"

    def break_down() -> Desired:
        faults.is_down = True
        # So that the rest of the epoch has to be fetched again.
        for copy in (tmp_path / "cache").glob(64 * "?"):
            copy.unlink()
        return Desired.RUN

    world.at[7] = break_down
    with pytest.raises(StorageDownError, match=r"s3://.* could not be read after 8 tries") as down:
        attempt_of(remote, run, world)
    outcome = failure(down.value)
    assert outcome.reason is Reason.NO_STORAGE
    assert Reason.NO_STORAGE in RETRYABLE
    assert "see whether the store is up" in (outcome.message or "")

    faults.is_down = False
    attempt_of(remote, run, World())
    assert final_weights(run) == undisturbed
    assert presented(run) == EACH_ONCE_AN_EPOCH
