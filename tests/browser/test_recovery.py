"""The page while the service is away, and after it is back; and where it can go on no more.

Away is killed, and frozen as well: a process that says nothing, and closes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import Connection

from service.access.caller import EVERYONE
from service.access.identity import COOKIE
from service.jobs.lifecycle import Decision
from service.store.changes import apply_decision
from service.store.deletion import delete_job
from service.store.tokens import revoke_token
from tests.bench.service.server import serving
from tests.browser.conftest import Trained
from tests.browser.invented import Invented
from tests.browser.test_10000_jobs import listening
from tests.browser.test_training import assert_same, mark, wait_other_text
from tests.browser.views import wait_drawn
from tests.unit.service.conftest import now
from trainer.contract.status import Status

_AGAIN_MS = 90_000
# Longer than live.js waits for a sign of life, and than a stream goes on for whoever is not let in.
_SILENT_MS = 60_000
_LAST_STEP = """() => Math.max(...document.querySelector("#loss .plot").data
  .flatMap((trace) => [...trace.x]))"""


def test_the_page_is_stale_while_the_service_is_gone_and_goes_on_by_itself(
    page: Page, trained: Trained
) -> None:
    page.goto(f"{trained.url}/ui/")
    badge = page.locator("#live")
    expect(badge).to_have_text("Live")
    mark(page)
    with _killed(trained):
        expect(badge).to_contain_text("Stale")
        progress = f"#job-{trained.job_id} [data-name=Progress]"
        expect(page.locator(progress)).to_be_visible()
        before = page.inner_text(progress)
    expect(badge).to_have_text("Live", timeout=_AGAIN_MS)
    wait_other_text(page, progress, before)
    expect(page.locator(f"#job-{trained.job_id} .state")).to_have_text("Running")
    assert_same(page)


def test_curves_and_log_of_a_job_go_on_after_a_restart(page: Page, trained: Trained) -> None:
    page.goto(trained.job_url(trained.job_id))
    wait_drawn(page)
    badge = page.locator("#live")
    expect(badge).to_have_text("Live")
    mark(page)
    log = trained.control_plane.attempt(trained.job_id).log
    with _killed(trained):
        expect(badge).to_contain_text("Stale")
        before = page.evaluate(_LAST_STEP)
        with log.open("a") as file:
            file.write("printed while nobody listened\n")
    expect(badge).to_have_text("Live", timeout=_AGAIN_MS)
    expect(page.locator("#log-text")).to_contain_text("printed while nobody listened")
    page.wait_for_function(f"before => ({_LAST_STEP})() > before", arg=before)
    # What was printed before is there once.
    with log.open("a") as file:
        file.write("printed again\n")
    expect(page.locator("#log-text")).to_contain_text("printed again")
    assert page.inner_text("#log-text").count("printed while nobody listened") == 1
    assert_same(page)


def test_the_page_is_stale_while_the_service_is_frozen(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path / "state", f"sqlite:///{tmp_path / 'store.db'}", {}) as url:
        page.goto(f"{url}/ui/")
        badge = page.locator("#live")
        expect(badge).to_have_text("Live")
        mark(page)
        process = listening(urlsplit(url).port)
        process.suspend()
        try:
            expect(badge).to_contain_text("Stale", timeout=_SILENT_MS)
        finally:
            process.resume()
        expect(badge).to_have_text("Live", timeout=_AGAIN_MS)
        assert_same(page)


def test_a_job_that_is_deleted_under_its_page_is_said_to_be_gone(
    context: BrowserContext, page: Page, invented: Invented
) -> None:
    job = invented.new_job("soon gone")
    _let_in(context, invented)
    page.goto(f"{invented.url}/ui/jobs/{job.id}")
    expect(page.locator("#live")).to_have_text("Live")

    def end_and_delete(connection: Connection) -> None:
        apply_decision(connection, job, Decision(status=Status.CANCELLED), now())
        delete_job(connection, job.id, EVERYONE, now())

    # At once, or the stream would tell of the end first.
    invented.plane.store.write(end_and_delete)
    expect(page.locator("#live")).to_have_text("Gone", timeout=_SILENT_MS)
    expect(page.locator("h1")).to_have_text("soon gone")


def test_whoever_is_not_known_any_more_keeps_what_is_shown_and_may_sign_in(
    context: BrowserContext, page: Page, invented: Invented
) -> None:
    token = invented.new_token()
    _let_in(context, invented, str(token))
    page.goto(f"{invented.url}/ui/?q=waits")
    expect(page.locator("#live")).to_have_text("Live")
    invented.plane.store.write(
        lambda connection: revoke_token(connection, token.id, EVERYONE, now())
    )
    expect(page.locator("#live")).to_contain_text("Signed out", timeout=_SILENT_MS)
    expect(page.locator("#jobs")).to_contain_text("waits-0")
    page.get_by_role("link", name="sign in").click()
    page.get_by_label("Token").fill(invented.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#jobs")).to_contain_text("waits-0")
    assert page.url.endswith("/ui/?q=waits")


def _let_in(context: BrowserContext, invented: Invented, token: str | None = None) -> None:
    value = token or invented.token
    context.add_cookies([{"name": COOKIE, "value": value, "url": invented.url}])


@contextmanager
def _killed(trained: Trained) -> Iterator[None]:
    """Have no service while the block runs."""
    trained.control_plane.kill()
    try:
        yield
    finally:
        trained.control_plane.start()
