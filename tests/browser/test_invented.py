"""The views again with what is seldom seen: failures, many attempts, long names, many kernels."""

import pytest
from playwright.sync_api import Browser, expect

from service.access.identity import COOKIE
from tests.browser.conftest import opened
from tests.browser.invented import Invented
from tests.browser.looks import flaws_of, graves_of
from tests.browser.views import wait_drawn


def _not_yet(view: str, flaw: str) -> object:
    """Return a view that is not as it should be yet; the mark fails the test once it is."""
    return pytest.param(view, marks=pytest.mark.xfail(strict=True, reason=flaw))


@pytest.mark.parametrize(
    "name",
    [
        _not_yet("jobs", "long owners and labels widen the header and the table"),
        _not_yet("paper", "names of classes widen their tables, and labels the head of a job"),
        _not_yet("failed", "a label widens the head; a tick of x lies on the lowest one of y"),
        _not_yet("retrying", "a long label widens the head of a job"),
        _not_yet("compare", "long names are cut off in the legends of a narrow screen"),
        "queue",
        "clone",
    ],
)
def test_what_is_seldom_seen_is_seen_whole(
    chromium: Browser, invented: Invented, name: str
) -> None:
    token = invented.long_token if name == "jobs" else invented.token
    with opened(chromium, reduced_motion="reduce") as context:
        context.add_cookies([{"name": COOKIE, "value": token, "url": invented.url}])
        page = context.new_page()
        page.goto(f"{invented.url}{invented.path_of(name)}")
        for text in invented.told_in(name):
            expect(page.locator("main")).to_contain_text(text)
        wait_drawn(page)
        flaws = flaws_of(page, f"invented-{name}") + graves_of(page, f"invented-{name}")
    assert not flaws, "\n".join(flaws)
