from collections.abc import Callable
from typing import Any

import pytest

from service.cluster.ray_jobs import RayUnreachableError, SilentRayError
from service.cluster.submission import Origin
from service.reconciling.reach import Ray, Reach
from tests.unit.service.world import FakeRay

ORIGIN = Origin(store_id="s", job_id="a")
QUESTIONS: dict[str, Callable[[Ray], Any]] = {
    "job": lambda ray: ray.job("a-1"),
    "log": lambda ray: ray.log("a-1"),
    "stop": lambda ray: ray.stop("a-1"),
    "live_submissions": lambda ray: ray.live_submissions(),
    "cluster": lambda ray: ray.cluster(),
    "left_groups": lambda ray: ray.left_groups(),
    "forget": lambda ray: ray.forget("a-1"),
}


def submit(ray: Ray) -> None:
    ray.submit("a-1", ["python"], ORIGIN)


class Asked:
    """A Ray whose every answer is one error; counts the questions."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.num_questions = 0

    def _answer(self, *_: object) -> Any:
        self.num_questions += 1
        raise self.error

    submit = job = log = stop = live_submissions = cluster = left_groups = forget = _answer


@pytest.mark.parametrize("first", QUESTIONS.values(), ids=QUESTIONS)
def test_one_that_does_not_answer_is_asked_once(first: Callable[[Ray], Any]) -> None:
    ray = Asked(SilentRayError("no answer"))
    reach = Reach(ray)
    for ask in (first, *QUESTIONS.values(), submit):
        with pytest.raises(SilentRayError, match="no answer"):
            ask(reach)
    assert ray.num_questions == 1


@pytest.mark.parametrize("ask", [*QUESTIONS.values(), submit], ids=[*QUESTIONS, "submit"])
def test_an_answer_that_is_of_no_use_says_nothing_of_the_next(ask: Callable[[Ray], Any]) -> None:
    ray = Asked(RayUnreachableError("refused"))
    reach = Reach(ray)
    for _ in range(2):
        with pytest.raises(RayUnreachableError, match="refused"):
            ask(reach)
    assert ray.num_questions == 2


def test_one_that_takes_no_submission_still_tells_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray, silent = FakeRay(), Asked(SilentRayError("no agent"))
    monkeypatch.setattr(ray, "submit", silent.submit)
    reach = Reach(ray)
    for _ in range(2):
        with pytest.raises(SilentRayError, match="no agent"):
            submit(reach)
        for ask in QUESTIONS.values():
            ask(reach)
    assert silent.num_questions == 1
