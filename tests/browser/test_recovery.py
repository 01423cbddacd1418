"""The page while the service is killed, and after it was started again."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Trained
from tests.browser.test_training import assert_same, mark, wait_other_text

_AGAIN_MS = 90_000


def test_the_page_is_stale_while_the_service_is_gone_and_goes_on_by_itself(
    page: Page, trained: Trained
) -> None:
    page.goto(f"{trained.url}/ui/")
    badge = page.locator("#live")
    expect(badge).to_have_text("Live")
    mark(page)
    trained.control_plane.kill()
    try:
        expect(badge).to_contain_text("Stale")
        progress = f"#job-{trained.job_id} [data-name=Progress]"
        expect(page.locator(progress)).to_be_visible()
        before = page.inner_text(progress)
    finally:
        trained.control_plane.start()
    expect(badge).to_have_text("Live", timeout=_AGAIN_MS)
    wait_other_text(page, progress, before)
    expect(page.locator(f"#job-{trained.job_id} .state")).to_have_text("Running")
    assert_same(page)
