"""What is looked at in a view that is open: its layout on three screens, and what axe finds."""

import os
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.views import wait_drawn

WIDTHS = (360, 1280, 2560)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_HEIGHT = 900
_SHOTS = Path(os.environ.get("ALEXNET_BROWSER_SHOTS", "build/browser-shots"))
_ROUNDING_PX = 2
_FLAWS = (Path(__file__).parent / "flaws.js").read_text()
_GRAVE = ("serious", "critical")

# Plotly has drawn for the width that there is now.
_ALL_FIT = """() => [...document.querySelectorAll(".plot[data-figure]")].every((plot) =>
  Math.abs(plot.clientWidth - plot.querySelector(".main-svg").clientWidth) < 2)"""


def flaws_of(page: Page, name: str) -> list[str]:
    """Return what is cut off, overlapped or empty; pictures of each look are kept for people."""
    _SHOTS.mkdir(parents=True, exist_ok=True)
    flaws = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": _HEIGHT})
        for theme in THEMES:
            _show(page, theme)
            wait_drawn(page)
            page.wait_for_function(_ALL_FIT)
            found = page.evaluate(_FLAWS, _ROUNDING_PX)
            flaws += [f"{name}, {width} px, {theme}: {one}" for one in found]
            _shoot(page, f"{name}-{width}-{theme}")
    return flaws


def graves_of(page: Page, name: str) -> list[str]:
    """Return what axe calls serious or critical; the rest is printed."""
    graves = []
    for theme in THEMES:
        _show(page, theme)
        for violation in Axe().run(page).response["violations"]:
            told = f"{name}, {theme}: {_told(violation)}"
            print(told)
            if violation["impact"] in _GRAVE:
                graves.append(told)
    return graves


def _show(page: Page, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    is_in = "theme => document.documentElement.dataset.theme === theme"
    page.wait_for_function(is_in, arg=theme)


def _shoot(page: Page, name: str) -> None:
    options: dict[str, Any] = {"animations": "disabled", "full_page": True}
    page.screenshot(path=_SHOTS / f"{name}.png", **options)


def _told(violation: dict[str, Any]) -> str:
    where = [" ".join(map(str, node["target"])) for node in violation["nodes"][:5]]
    return f"{violation['impact']}: {violation['help']} ({violation['id']}): {'; '.join(where)}"
