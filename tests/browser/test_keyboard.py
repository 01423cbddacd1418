"""The page by keyboard alone: Tab and Enter reach all, and the focus is seen."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Trained

_MOST_TABS = 120
# Words of what has the focus, and whether it is seen to have it.
_FOCUSED = """() => {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  const label = document.querySelector(`label[for="${one.id}"]`)?.textContent;
  const words = one.getAttribute("aria-label") ?? label ?? one.textContent;
  return [words.trim(), outlineStyle !== "none" && parseFloat(outlineWidth) >= 2];
}"""


def tab_to(page: Page, words: str) -> None:
    """Press Tab until what is called so has the focus; each place on the way is seen."""
    passed = []
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        text, is_seen = page.evaluate(_FOCUSED)
        if page.evaluate("() => document.activeElement !== document.body"):
            assert is_seen, f"the focus on {text!r} is not seen"
        if text.startswith(words):
            return
        passed.append(text[:40])
    raise AssertionError(f"no {words!r} among {passed}")


@pytest.fixture
def waiting_id(trained: Trained) -> Iterator[str]:
    """Of a job that waits for all CPUs, while another has one."""
    scale = {"replicas": 3, "cpus_per_replica": 1, "accelerator": "cpu"}
    optim = {"global_batch_size": 24, "epochs": 1}
    data = {**trained.request("")["data"], "num_streams": 3}
    job_id = trained.control_plane.submit(
        **trained.request("waiting", scale=scale, optim=optim, data=data)
    )
    yield job_id
    trained.control_plane.http.post(f"/jobs/{job_id}/cancel")


def test_the_actions_of_a_job(page: Page, trained: Trained, waiting_id: str) -> None:
    page.goto(f"{trained.url}/ui/")
    state = page.locator(f"#job-{waiting_id} .state")
    menu = page.locator(f"#job-{waiting_id} details.menu")

    tab_to(page, "Actions on waiting")
    page.keyboard.press("Enter")
    expect(menu).to_have_attribute("open", "")
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(menu.locator("> summary")).to_be_focused()

    page.keyboard.press("Enter")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(state).to_have_text("Paused")

    tab_to(page, "Actions on waiting")
    page.keyboard.press("Enter")
    tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    tab_to(page, "Yes, end it for good")
    page.keyboard.press("Enter")
    expect(state).to_have_text("Cancelled")


def test_the_content_is_skipped_to(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_form(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/submit")
    for label, text in (
        ("Name", "by keyboard"),
        ("Preset", "small"),
        ("Training data", str(trained.shards.train)),
        ("Validation data", str(trained.shards.validation)),
    ):
        tab_to(page, label)
        page.keyboard.type(text)
    tab_to(page, "Private")
    page.keyboard.press("Space")
    tab_to(page, "Show the plan")
    page.keyboard.press("Enter")
    expect(page.locator("#plan-title")).to_contain_text("by keyboard")
    tab_to(page, "Submit this job")
