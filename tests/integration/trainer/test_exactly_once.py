"""Each sample once an epoch, by committed steps, whatever ends attempts and however many replicas.

With nothing but the ledgers: numbers and keys, in an order that does not depend on the replicas.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from data_shards.feeding import reader
from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.keys import key_of
from data_shards.feeding.plan import ReaderPlan
from data_shards.manifest import load_manifest
from data_shards.order import EpochOrder, epoch_order
from data_shards.shards.index import OFFSET, SHARD, TAR_BLOCK
from data_shards.shards.sidecars import load_index
from tests.damaged_sets import damage
from tests.integration.trainer.conftest import NUM_TRAINING_IMAGES, Shards, write_job
from tests.integration.trainer.replica_loops import run_attempt
from trainer.attempt.ledger import Line, count_committed, entries
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec, ScaleSpec
from trainer.running.local import read_spec

pytestmark = pytest.mark.slow

BATCH, STREAMS, EPOCHS = 32, 8, 2
# Of 401 samples: the last step of an epoch is short, and in every stream.
STEPS_PER_EPOCH = 13
CORRUPT = (3, 77, 200, 400)


@pytest.fixture(scope="module")
def spec(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A job of two epochs on a training set of which four samples are cut in half."""
    root = tmp_path_factory.mktemp("exactly-once")
    data = {
        "train": str(damage(shards.train, root / "damaged", CORRUPT)),
        "validation": str(shards.validation),
        "num_streams": STREAMS,
        "window": 2,
        "record_sample_keys": True,
    }
    optim = {"global_batch_size": BATCH, "epochs": EPOCHS}
    return read_spec(
        write_job(root, shards, data=data, optim=optim, checkpoint={"interval_steps": 4})
    )


def run_with(
    spec: JobSpec, run: RunDirectory, num_replicas: int, **ends: object
) -> list[int | None]:
    """Run the next attempt with so many replicas."""
    folders = list_folders(run)
    order = AttemptOrder(
        job_id="job",
        attempt=run.newest_attempt() + 1,
        spec=spec.model_copy(
            update={"scale": ScaleSpec(replicas=num_replicas, cpus_per_replica=1)}
        ),
        accelerator="cpu",
        resume_from=str(folders[0].relative_to(run.path)) if folders else None,
    )
    return run_attempt(run.path, order, **ends)  # type: ignore[arg-type]


def keys_of_all(spec: JobSpec) -> list[str]:
    """Return SHARD:KEY of each sample by its number, read without loader or ledger."""
    folder = Path(spec.data.train).parent
    manifest = load_manifest(folder)
    keys = []
    for row in load_index(folder, manifest).tolist():
        shard = manifest.shards[row[SHARD]].name
        content = (folder / shard).read_bytes()
        keys.append(f"{shard}:{key_of(content[row[OFFSET] - TAR_BLOCK : row[OFFSET]])}")
    return keys


def committed_steps(run: RunDirectory) -> dict[int, list[Line]]:
    """Return what counts of each step, by rank."""
    counted: dict[int, dict[int, Line]] = {}
    for entry in entries(run.path):
        if entry.counts:
            by_rank = counted.setdefault(entry.line.step, {})
            assert entry.rank not in by_rank, f"{entry} counts twice"
            by_rank[entry.rank] = entry.line
    return {
        step: [line for _, line in sorted(by_rank.items())]
        for step, by_rank in sorted(counted.items())
    }


def assert_each_sample_once_an_epoch(run: RunDirectory, spec: JobSpec) -> None:
    keys = keys_of_all(spec)
    assert len(set(keys)) == NUM_TRAINING_IMAGES
    steps = committed_steps(run)
    assert list(steps) == list(range(EPOCHS * STEPS_PER_EPOCH))
    for epoch in range(EPOCHS):
        lines = [line for step in steps.values() for line in step if line.epoch == epoch]
        trained = Counter(sample for line in lines for sample in line.samples)
        skipped = Counter(each.sample for line in lines for each in line.skipped)
        assert trained == Counter(set(range(NUM_TRAINING_IMAGES)) - set(CORRUPT))
        assert skipped == Counter(CORRUPT)
        trained_keys = Counter(key for line in lines for key in line.keys or ())
        skipped_keys = Counter(each.name for line in lines for each in line.skipped)
        assert trained_keys + skipped_keys == Counter(keys)
        assert {each.reason for line in lines for each in line.skipped} == {"broken"}
    for lines in steps.values():
        for line in lines:
            assert line.keys == tuple(keys[sample] for sample in line.samples)


def assert_in_the_order_of_one_replica(run: RunDirectory, spec: JobSpec) -> None:
    sizes = [shard.num_samples for shard in load_manifest(Path(spec.data.train)).shards]
    for step, lines in committed_steps(run).items():
        epoch, step_of_epoch = divmod(step, STEPS_PER_EPOCH)
        order = epoch_order(sizes, seed=spec.seed, epoch=epoch, num_streams=STREAMS, window=2)
        samples, real = order.batch(step_of_epoch, BATCH)
        expected = [sample for sample in samples[real].tolist() if sample not in CORRUPT]
        assert [sample for line in lines for sample in line.samples] == expected


def test_each_sample_counts_once_over_kill_pause_and_one_four_two_replicas(
    spec: JobSpec, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    # Paused off any interval of checkpoints; killed in the second epoch, where a checkpoint is due.
    assert run_with(spec, run, 1, paused_after=6) == [0]
    assert run_with(spec, run, 4, killed_at=15) == [1, 1, 1, -9]
    assert run_with(spec, run, 2) == [0, 0]
    assert_each_sample_once_an_epoch(run, spec)
    assert_in_the_order_of_one_replica(run, spec)
    counts = count_committed(run.path)
    assert counts.samples_presented == EPOCHS * (NUM_TRAINING_IMAGES - len(CORRUPT))
    assert counts.skipped_by_reason == {"broken": EPOCHS * len(CORRUPT)}
    # The checkpoint before is of the end of the epoch, step 13.
    assert counts.steps_redone in (2, 3)


def order_by_replicas() -> None:
    """Break the order: let it depend on how many replicas there are."""

    def depending(plan: ReaderPlan, shard_sizes: Sequence[int], epoch: int) -> EpochOrder:
        return order_of_epoch(replace(plan, seed=plan.seed + plan.num_replicas), shard_sizes, epoch)

    # Raises if there is no such name any more.
    patch.object(reader, "order_of_epoch", depending).start()


def test_an_order_that_depends_on_the_replicas_is_noticed(spec: JobSpec, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert run_with(spec, run, 1, paused_after=6, before=order_by_replicas) == [0]
    assert run_with(spec, run, 2, before=order_by_replicas) == [0, 0]
    with pytest.raises(AssertionError):
        assert_each_sample_once_an_epoch(run, spec)
    with pytest.raises(AssertionError):
        assert_in_the_order_of_one_replica(run, spec)
