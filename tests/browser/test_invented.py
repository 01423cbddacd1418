"""The views again with what is seldom seen: failures, many attempts, long names, many kernels."""

import pytest
from playwright.sync_api import Browser, expect

from service.access.identity import COOKIE
from tests.browser.conftest import opened
from tests.browser.invented import Invented
from tests.browser.looks import flaws_of, graves_of
from tests.browser.views import wait_drawn


@pytest.mark.parametrize(
    "name", ["jobs", "paper", "failed", "retrying", "compare", "queue", "clone"]
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
