"""`/metrics` shows a job while it lives, and not after."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Shards
from tests.acceptance.product import ControlPlane

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


def _samples_of(control_plane: ControlPlane, job_id: str) -> dict[str, float]:
    text = control_plane.http.get("/metrics").raise_for_status().text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("job_id") == job_id
    }


def test_a_job_has_series_only_while_it_lives(control_plane: ControlPlane, shards: Shards) -> None:
    job_id = control_plane.submit(**shards.spec(optim={"global_batch_size": 32, "epochs": 3}))
    control_plane.wait_status(job_id, "RUNNING")
    samples: dict[str, float] = {}
    while not {"alexnet_train_loss", "alexnet_eval_error_ratio"} <= samples.keys():
        assert control_plane.job(job_id)["status"] == "RUNNING"
        samples = _samples_of(control_plane, job_id) or samples
    assert samples["alexnet_train_planned_steps"] == 3 * 94  # ⌈3001 / 32⌉ steps an epoch
    assert 0 < samples["alexnet_train_step"] <= 3 * 94
    assert samples["alexnet_train_images_per_second"] > 0
    control_plane.wait_status(job_id, "SUCCEEDED")
    assert _samples_of(control_plane, job_id) == {}
