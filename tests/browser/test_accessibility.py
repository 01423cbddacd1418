"""What axe finds in each view, light and dark."""

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Trained, opened
from tests.browser.looks import graves_of
from tests.browser.views import SIGN_IN, VIEWS, open_view


@pytest.mark.parametrize("name", [*VIEWS, SIGN_IN])
def test_axe_finds_nothing_grave(
    chromium: Browser, trained: Trained, guarded_url: str, name: str
) -> None:
    with opened(chromium, color_scheme="light", reduced_motion="reduce") as context:
        page = context.new_page()
        open_view(page, name, trained, guarded_url)
        graves = graves_of(page, name)
    assert not graves, "\n".join(graves)
