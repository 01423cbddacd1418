"""What axe finds in each view, light and dark."""

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Trained, opened
from tests.browser.views import SIGN_IN, VIEWS, open_view

_GRAVE = ("serious", "critical")
_IS_IN = "theme => document.documentElement.dataset.theme === theme"
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.mark.parametrize("name", [*VIEWS, SIGN_IN])
def test_axe_finds_nothing_grave(
    chromium: Browser, trained: Trained, guarded_url: str, name: str
) -> None:
    with opened(chromium, color_scheme="light", reduced_motion="reduce") as context:
        page = context.new_page()
        open_view(page, name, trained, guarded_url)
        grave = []
        for theme in _THEMES:
            page.emulate_media(color_scheme=theme)
            page.wait_for_function(
                "theme => document.documentElement.dataset.theme === theme", arg=theme
            )
            for violation in _violations(page):
                told = f"{name}, {theme}: {_told(violation)}"
                print(told)
                if violation["impact"] in _GRAVE:
                    grave.append(told)
        assert not grave, "\n".join(grave)


def _violations(page: Page) -> list[dict[str, Any]]:
    return list(Axe().run(page).response["violations"])


def _told(violation: dict[str, Any]) -> str:
    where = [" ".join(map(str, node["target"])) for node in violation["nodes"][:5]]
    return f"{violation['impact']}: {violation['help']} ({violation['id']}): {'; '.join(where)}"
