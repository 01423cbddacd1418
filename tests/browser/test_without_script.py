"""The page of a browser that runs no scripts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Trained, opened
from tests.browser.views import fill_form


@pytest.fixture
def plain(chromium: Browser) -> Iterator[Page]:
    with opened(chromium, java_script_enabled=False) as context:
        yield context.new_page()


def test_jobs_are_read(plain: Page, trained: Trained) -> None:
    plain.goto(f"{trained.url}/ui/")
    row = plain.locator(f"#job-{trained.over_id}")
    expect(row).to_contain_text("twelve epochs")
    expect(row).to_contain_text("Succeeded")
    expect(plain.locator("#live")).to_be_hidden()
    plain.get_by_label("Actions on twelve epochs").click()
    expect(row.get_by_role("link", name="Clone")).to_be_visible()


def test_a_job_is_read(plain: Page, trained: Trained) -> None:
    plain.goto(trained.job_url(trained.over_id))
    expect(plain.locator("#head")).to_contain_text("Succeeded")
    expect(plain.locator("#loss")).to_contain_text("As a table")
    plain.locator("#loss summary").click()
    expect(plain.locator("#loss-rows tbody tr").first).to_be_visible()
    expect(plain.locator("img[src$='/curves.svg']")).to_be_visible()
    expect(plain.locator("img.kernels")).to_have_count(2)
    # What needs a script is not offered.
    for one in plain.locator("[data-script]").all():
        expect(one).to_be_hidden()


def test_a_job_is_submitted(plain: Page, trained: Trained) -> None:
    plain.goto(f"{trained.url}/ui/submit")
    fill_form(plain, trained, name="without a script")
    plain.get_by_role("button", name="Show the plan").click()
    expect(plain.locator("#plan-title")).to_contain_text("without a script")
    plain.get_by_role("button", name="Submit this job").click()
    expect(plain.locator("#head h1")).to_have_text("without a script")
    plain.locator("#head summary", has_text="Cancel").click()
    plain.get_by_role("button", name="Yes, end it for good").click()
    trained.control_plane.wait_status(plain.url.rpartition("/")[2], "CANCELLED")
    # Nothing changes by itself.
    plain.reload()
    expect(plain.locator("#head .state")).to_have_text("Cancelled")
