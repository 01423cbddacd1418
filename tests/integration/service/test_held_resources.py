"""What a real Ray tells of who holds what of its nodes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cluster.ray_jobs import RayJobs
from service.cluster.submission import Origin, Submission
from service.jobs.lifecycle import RayState
from tests.integration.service.running_ray import running_ray
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(120)]

HOLDS = """
import ray, time
from ray.util.placement_group import placement_group
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=1)
class Actor:
    def ready(self): return True
actor = Actor.remote()
ray.get(actor.ready.remote())
ray.get(placement_group([{"CPU": 1, "GPU": 2}]).ready())
asked = placement_group([{"CPU": 1, "GPU": 3}])
time.sleep(100)
"""

# As Ray has it when a driver is killed while it asks for devices: nobody's, and for good.
LEAVES = """
import ray
from ray.util.placement_group import placement_group
ray.init(address="auto", log_to_driver=False)
ray.get(placement_group([{"CPU": 1, "GPU": 2}], lifetime="detached", name="left").ready())
"""


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayJobs]:
    with running_ray(tmp_path, num_cpus=3, num_gpus=4) as jobs:
        yield jobs


def test_groups_and_actors_of_a_submission_are_told_while_it_lives(
    ray: RayJobs, tmp_path: Path
) -> None:
    (node,) = wait_for("its node", ray.nodes, timeout_s=30)
    assert (node.num_cpus, node.num_gpus) == (3, 4)
    assert ray.cluster().holdings == []
    (tmp_path / "holds.py").write_text(HOLDS)
    origin = Origin(store_id="theirs", job_id="another")
    ray.submit("another", [sys.executable, str(tmp_path / "holds.py")], origin)
    assert ray.live_submissions() == [Submission(id="another", origin=origin)]
    wait_for("both to be held", lambda: len(ray.cluster().holdings) == 2, timeout_s=60)
    held = ray.cluster().holdings
    assert {(one.node_id, one.holder) for one in held} == {(node.id, "another")}
    assert sorted((one.num_cpus, one.num_gpus) for one in held) == [(1, 0), (1, 2)]
    wait_for("another to be asked for", lambda: ray.cluster().waiting == {"another"}, timeout_s=30)
    ray.stop("another")
    wait_for("all to be given back", lambda: not ray.cluster().holdings, timeout_s=60)
    assert not ray.cluster().waiting


def test_what_a_driver_that_has_ended_left_is_told_and_given_back(
    ray: RayJobs, tmp_path: Path
) -> None:
    wait_for("its node", ray.nodes, timeout_s=30)
    (tmp_path / "leaves.py").write_text(LEAVES)
    origin = Origin(store_id="ours", job_id="a")
    ray.submit("a-1", [sys.executable, str(tmp_path / "leaves.py")], origin)
    (left,) = wait_for("what it leaves", ray.left_groups, timeout_s=60)
    assert left.submission == Submission(id="a-1", origin=origin)
    assert [(one.holder, one.num_gpus) for one in ray.cluster().holdings] == [("a-1", 2)]
    ray.submit("release", [sys.executable, "-m", "trainer", "release", left.id], None)
    wait_for("it to be given back", lambda: not ray.cluster().holdings, timeout_s=60)
    assert ray.left_groups() == []

    def is_forgotten() -> bool:
        # While it lives, it is not.
        ray.forget("release")
        return ray.job("release").state is RayState.ABSENT

    wait_for("its driver to be forgotten", is_forgotten, timeout_s=30)
