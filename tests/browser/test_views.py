"""Each view on screens of three widths, light and dark: as pictures, and nothing cut off or empty.

The pictures are for people to look at: ALEXNET_BROWSER_SHOTS names their folder.
"""

import os
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Trained, opened
from tests.browser.views import SIGN_IN, VIEWS, open_view, wait_drawn

_WIDTHS = (360, 1280, 2560)
_HEIGHT = 900
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_SHOTS = Path(os.environ.get("ALEXNET_BROWSER_SHOTS", "build/browser-shots"))
_ROUNDING_PX = 2
_FLAWS = (Path(__file__).parent / "flaws.js").read_text()


@pytest.mark.parametrize("name", [*VIEWS, SIGN_IN])
def test_nothing_is_cut_off_overlapped_or_empty(
    chromium: Browser, trained: Trained, guarded_url: str, name: str
) -> None:
    _SHOTS.mkdir(parents=True, exist_ok=True)
    flaws = []
    with opened(chromium, reduced_motion="reduce") as context:
        page = context.new_page()
        open_view(page, name, trained, guarded_url)
        for width in _WIDTHS:
            page.set_viewport_size({"width": width, "height": _HEIGHT})
            for theme in _THEMES:
                page.emulate_media(color_scheme=theme)
                wait_drawn(page)
                _wait_plots_fit(page)
                found = page.evaluate(_FLAWS, _ROUNDING_PX)
                flaws += [f"{name}, {width} px, {theme}: {one}" for one in found]
                _shoot(page, f"{name}-{width}-{theme}")
    assert not flaws, "\n".join(flaws)


def _wait_plots_fit(page: Page) -> None:
    """Wait until plotly has drawn for the width that there is now."""
    page.wait_for_function(
        """() => [...document.querySelectorAll(".plot[data-figure]")].every((plot) =>
          Math.abs(plot.clientWidth - plot.querySelector(".main-svg").clientWidth) < 2)"""
    )


def _shoot(page: Page, name: str) -> None:
    options: dict[str, Any] = {"animations": "disabled", "full_page": True}
    page.screenshot(path=_SHOTS / f"{name}.png", **options)
