"""The views that pages lead to."""

import pytest

from service.access.caller import Caller, Role
from service.ui.navigation import links_for


def test_nobody_is_led_to_views_that_they_may_not_open() -> None:
    titles = {
        role: [link.title for link in links_for(Caller(owner="a", role=role), "/ui/")]
        for role in Role
    }
    assert "Jobs" in titles[Role.VIEWER]
    assert "Submit" not in titles[Role.VIEWER]
    assert "Submit" in titles[Role.SUBMITTER]
    assert links_for(None, "/ui/") == []


@pytest.mark.parametrize(
    ("path", "here"),
    [("/ui/", ["Jobs"]), ("/ui/submit", ["Submit"]), ("/ui/submit/plan", ["Submit"])],
)
def test_the_view_that_is_shown_is_marked(path: str, here: list[str]) -> None:
    links = links_for(Caller(owner="a", role=Role.ADMIN), path)
    assert [link.title for link in links if link.is_here] == here
