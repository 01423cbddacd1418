from datetime import timedelta

import pytest

from service.cluster.submission import LeftGroup, Origin, Submission
from service.reconciling.left_groups import GRACE_S
from service.reconciling.reconciler import ORPHANS_EVERY_S
from tests.unit.service.world import World

# It is looked for again, and was left for as long as is waited.
LONG_S = max(GRACE_S, ORPHANS_EVERY_S) + 1


def left(group: str, store_id: str | None) -> LeftGroup:
    origin = None if store_id is None else Origin(store_id=store_id, job_id="a")
    return LeftGroup(id=group, submission=Submission(id="a-1", origin=origin))


def tick_after(world: World, seconds: float) -> None:
    world.now += timedelta(seconds=seconds)
    world.tick()


def test_a_group_that_is_left_for_long_is_removed_by_a_driver_and_that_is_forgotten(
    world: World,
) -> None:
    world.ray.left = [left("ab12", world.store.id)]
    world.tick()
    assert world.ray.jobs == {}
    tick_after(world, LONG_S)
    command = ["/usr/bin/python3", "-m", "trainer", "release", "ab12"]
    assert world.ray.commands == {"release-ab12": command}
    world.ray.end("release-ab12")
    world.ray.left = []
    tick_after(world, LONG_S)
    assert world.ray.forgotten == ["release-ab12"]
    # It is no attempt, and no orphan.
    assert world.ray.stopped == []


def test_a_removal_without_effect_is_tried_again(world: World) -> None:
    world.ray.left = [left("ab12", world.store.id)]
    world.tick()
    tick_after(world, LONG_S)
    assert world.ray.submissions == 1
    world.ray.end("release-ab12")
    tick_after(world, LONG_S)
    assert world.ray.forgotten == ["release-ab12"]
    assert world.ray.submissions == 2


@pytest.mark.parametrize("store_id", [None, "another"])
def test_what_others_have_left_is_not_touched(world: World, store_id: str | None) -> None:
    world.ray.left = [left("ab12", store_id)]
    for _ in range(5):
        tick_after(world, LONG_S)
    assert world.ray.jobs == {}


def test_what_ray_removes_by_itself_in_time_is_left_to_it(world: World) -> None:
    for number in range(5):
        world.ray.left = [left(f"a{number}", world.store.id)]
        tick_after(world, LONG_S)
    assert world.ray.jobs == {}
