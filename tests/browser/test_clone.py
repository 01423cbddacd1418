"""A job made of another, from its page to the new job's."""

import json

from playwright.sync_api import Page, expect

from tests.browser.conftest import Trained


def test_a_clone_is_changed_planned_and_submitted(page: Page, trained: Trained) -> None:
    control_plane = trained.control_plane
    page.goto(trained.job_url(trained.over_id))
    page.get_by_role("link", name="Clone").click()
    spec = page.get_by_label("Spec as JSON")
    asked = json.loads(spec.input_value())
    assert asked == {"clone": trained.over_id, "name": "twelve epochs"}
    spec.fill(json.dumps(asked | {"name": "a dozen epochs"}))
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan-title")).to_contain_text("a dozen epochs")
    page.get_by_role("button", name="Submit this job").click()
    expect(page.locator("#head h1")).to_have_text("a dozen epochs")
    job_id = page.url.rpartition("/")[2]
    try:
        job, source = control_plane.job(job_id), control_plane.job(trained.over_id)
        assert job["cloned_from"] == trained.over_id
        assert job["spec"] == source["spec"] | {"name": "a dozen epochs"}
    finally:
        control_plane.http.post(f"/jobs/{job_id}/cancel").raise_for_status()
    control_plane.wait_status(job_id, "CANCELLED")
