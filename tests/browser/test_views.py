"""Each view on screens of three widths, light and dark: as pictures, and nothing cut off or empty.

The pictures are for people to look at: ALEXNET_BROWSER_SHOTS names their folder.
"""

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Trained, opened
from tests.browser.looks import flaws_of
from tests.browser.views import SIGN_IN, VIEWS, open_view


@pytest.mark.parametrize("name", [*VIEWS, SIGN_IN])
def test_nothing_is_cut_off_overlapped_or_empty(
    chromium: Browser, trained: Trained, guarded_url: str, name: str
) -> None:
    with opened(chromium, reduced_motion="reduce") as context:
        page = context.new_page()
        open_view(page, name, trained, guarded_url)
        flaws = flaws_of(page, name)
    assert not flaws, "\n".join(flaws)
