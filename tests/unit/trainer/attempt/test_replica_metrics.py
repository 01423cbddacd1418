from dataclasses import replace

import pytest

from data_shards.feeding.feed_cost import FeedCost
from tests.unit.trainer.batches import make_batch
from trainer.attempt.replica_metrics import STEP_BUCKETS_S, ReplicaMetrics
from trainer.contract.events import Phase

Key = tuple[str, tuple[tuple[str, str], ...]]


def values(metrics: ReplicaMetrics) -> dict[Key, float]:
    found = {(one.name, tuple(one.labels.items())): one.value for one in metrics.series}
    assert len(found) == len(metrics.series), "a series twice"
    return found


def changed(metrics: ReplicaMetrics) -> dict[str, float]:
    """Return what is not zero, by name and last label."""
    return {
        name + ("".join(f" {value}" for _, value in labels[-1:])): number
        for (name, labels), number in values(metrics).items()
        if number
    }


def test_names_and_labels_are_the_documented_ones() -> None:
    labels: dict[str, tuple[str, ...]] = {}
    for series in ReplicaMetrics("j1", 0).series:
        assert labels.setdefault(series.name, tuple(series.labels)) == tuple(series.labels)
    of_replica = ("job_id", "replica")
    assert labels == {
        "alexnet_train_samples_total": of_replica,
        "alexnet_train_step_seconds_bucket": (*of_replica, "le"),
        "alexnet_train_step_seconds_sum": of_replica,
        "alexnet_train_step_seconds_count": of_replica,
        "alexnet_train_phase_seconds_total": (*of_replica, "phase"),
        "alexnet_checkpoint_save_seconds_bucket": ("le",),
        "alexnet_checkpoint_save_seconds_sum": (),
        "alexnet_checkpoint_save_seconds_count": (),
        "alexnet_data_samples_total": ("job_id", "split"),
        "alexnet_data_read_bytes_total": ("source",),
        "alexnet_data_stage_seconds_total": ("stage",),
        "alexnet_data_cache_requests_total": ("result",),
        "alexnet_data_prefetched_batches": (),
    }


def test_all_series_are_there_from_the_beginning_and_no_more_ever_come() -> None:
    metrics = ReplicaMetrics("j1", 0)
    before = values(metrics)
    assert set(before.values()) == {0.0}
    list(metrics.counted([make_batch()], "train"))
    metrics.note_step(0.3, num_trained=8)
    metrics.note_phases({"forward": 1.0})
    metrics.note_checkpoint(1000.0)
    assert values(metrics).keys() == before.keys()
    assert len(before) < 70


def test_other_replicas_than_rank_0_write_no_checkpoints() -> None:
    names = {series.name for series in ReplicaMetrics("j1", 1).series}
    assert not any("checkpoint" in name for name in names)


def test_batches_are_counted_as_they_are_taken() -> None:
    metrics = ReplicaMetrics("j1", 0)
    cost = FeedCost(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    first = replace(make_batch(num_real=5), cost=cost, num_ready=3)
    second = replace(make_batch(num_real=2), cost=cost, num_ready=1)
    taken = metrics.counted([first, second], "validation")
    assert changed(metrics) == {}
    assert next(taken) is first
    assert changed(metrics) == {
        "alexnet_data_samples_total validation": 5,
        "alexnet_data_stage_seconds_total fetch": 1,
        "alexnet_data_stage_seconds_total read": 2,
        "alexnet_data_stage_seconds_total decode": 3,
        "alexnet_data_stage_seconds_total augment": 4,
        "alexnet_data_stage_seconds_total collate": 5,
        "alexnet_data_read_bytes_total local": 6,
        "alexnet_data_read_bytes_total cache": 7,
        "alexnet_data_read_bytes_total remote": 8,
        "alexnet_data_cache_requests_total hit": 9,
        "alexnet_data_cache_requests_total miss": 10,
        "alexnet_data_prefetched_batches": 3,
    }
    assert [*taken] == [second]
    seen = changed(metrics)
    assert seen["alexnet_data_samples_total validation"] == 7
    assert seen["alexnet_data_read_bytes_total remote"] == 16
    assert seen["alexnet_data_prefetched_batches"] == 1


def test_steps_are_an_exact_histogram() -> None:
    metrics = ReplicaMetrics("j1", 2)
    for seconds in (0.001, 0.05, 0.051, 1000.0):
        metrics.note_step(seconds, num_trained=10)
    seen = values(metrics)
    of_replica = (("job_id", "j1"), ("replica", "2"))
    assert seen["alexnet_train_step_seconds_sum", of_replica] == 1000.102
    assert seen["alexnet_train_step_seconds_count", of_replica] == 4
    assert seen["alexnet_train_samples_total", of_replica] == 40
    within = {
        dict(labels)["le"]: number
        for (name, labels), number in seen.items()
        if name == "alexnet_train_step_seconds_bucket"
    }
    assert [*within] == [*(f"{bound:g}" for bound in STEP_BUCKETS_S), "+Inf"]
    assert [within[bound] for bound in ("0.002", "0.02", "0.05", "0.1", "100", "+Inf")] == [
        *(1, 1, 2, 3, 3, 4)
    ]


def test_phases_add_up() -> None:
    metrics = ReplicaMetrics("j1", 0)
    metrics.note_phases({"forward": 1.0, "data_wait": 0.5})
    metrics.note_phases({"forward": 2.0})
    assert changed(metrics) == {
        "alexnet_train_phase_seconds_total forward": 3.0,
        "alexnet_train_phase_seconds_total data_wait": 0.5,
    }


def test_a_phase_counts_while_it_lasts_and_once_when_it_is_noted() -> None:
    metrics, unnoted = ReplicaMetrics("j1", 0), dict[Phase, float]()
    metrics.follow(lambda: unnoted)
    metrics.note_phases({"forward": 1.0, "data_wait": 2.0})
    unnoted["data_wait"] = 600.0
    waited = "alexnet_train_phase_seconds_total data_wait"
    assert changed(metrics)[waited] == 602.0
    # Read, and not yet noted; then noted, a rounding less. A counter that falls begins anew.
    unnoted.clear()
    assert changed(metrics)[waited] == 602.0
    metrics.note_phases({"data_wait": 599.9999})
    assert changed(metrics)[waited] == 602.0
    unnoted["data_wait"] = 1.0
    assert changed(metrics)[waited] == pytest.approx(602.9999)
