"""The views of the page, and how each is opened until all of it is drawn."""

from collections.abc import Callable, Mapping

from playwright.sync_api import Page, expect

from tests.browser.conftest import Trained

# Each plot has something drawn in it.
_ALL_DRAWN = """() => [...document.querySelectorAll(".plot[data-figure]")]
  .every((plot) => plot.querySelector(".main-svg .trace, .main-svg .point, .main-svg .points"))"""
# Those too that wait until they are scrolled to.
_ALL_LOADED = """() => [...document.images].every((image) => {
  image.loading = "eager";
  return image.complete && image.naturalWidth;
})"""


def _open_jobs(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/")


def _open_submit(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/submit")


def _open_plan(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/submit")
    fill_form(page, trained, name="first light")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan-title")).to_be_visible()


def _open_job(page: Page, trained: Trained) -> None:
    page.goto(trained.job_url(trained.job_id))


def _open_over(page: Page, trained: Trained) -> None:
    page.goto(trained.job_url(trained.over_id))


def _open_compare(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/compare?job={trained.job_id}&job={trained.over_id}")


def _open_data(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/data?location={trained.shards.train}")
    look = page.get_by_role("button", name="Look into the set")
    if look.is_visible():
        look.click()
    # A newer job that trains on the set has a batch of its own.
    elif page.locator("img.sheet").count() < 2:
        page.get_by_role("button", name="Draw this batch").click()
    expect(page.locator("img.sheet")).to_have_count(2)


def _open_cluster(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/cluster")


def _open_problem(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/jobs/ffffffffffff")


VIEWS: Mapping[str, Callable[[Page, Trained], None]] = {
    "jobs": _open_jobs,
    "submit": _open_submit,
    "plan": _open_plan,
    "job": _open_job,
    "over": _open_over,
    "compare": _open_compare,
    "data": _open_data,
    "cluster": _open_cluster,
    "problem": _open_problem,
}
SIGN_IN = "sign-in"
"""Of another service, which asks for tokens."""


def open_view(page: Page, name: str, trained: Trained, guarded_url: str) -> None:
    """Open a view, and wait until its charts are drawn and its pictures are there."""
    if name == SIGN_IN:
        page.goto(f"{guarded_url}/ui/")
        expect(page.get_by_label("Token")).to_be_visible()
    else:
        VIEWS[name](page, trained)
    wait_drawn(page)


def wait_drawn(page: Page) -> None:
    page.wait_for_function(_ALL_DRAWN)
    page.wait_for_function(_ALL_LOADED)


def fill_form(page: Page, trained: Trained, *, name: str) -> None:
    """Write into the form what a short job needs."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Preset").select_option("small")
    page.get_by_label("Training data").fill(str(trained.shards.train))
    page.get_by_label("Validation data").fill(str(trained.shards.validation))
    page.get_by_label("Accelerator").select_option("cpu")
