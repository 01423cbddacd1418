"""What others write is shown as they wrote it: no script of it runs, and no link leads into one."""

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Trained
from tests.browser.views import fill_form, wait_drawn
from tests.browser.watch import PWNED
from tests.waiting import wait_for

_ATTACKS = (
    f"<script>window.{PWNED}=1</script>",
    f'"><img src=x onerror="window.{PWNED}=1">',
    f"'><svg onload=window.{PWNED}=1>",
    f"</script><script>window.{PWNED}=1</script>",
    f'<a href="javascript:window.{PWNED}=1">class</a>',
    f"javascript:window.{PWNED}=1",
    f"{{{{ 7*7 }}}}<iframe srcdoc='<script>top.{PWNED}=1</script>'>",
    f"<b onmouseover=window.{PWNED}=1>class</b>",
    f"--><details open ontoggle=window.{PWNED}=1>",
    f"<math><mi xlink:href='javascript:window.{PWNED}=1'>",
)
# Of a page on which every text stayed a text.
_TAKEN_FOR_MARKUP = f"""() => window.{PWNED} || [...document.querySelectorAll(
  'img[src="x"], iframe, math, [onerror], [onload], [ontoggle], [onmouseover], a'
)].filter((one) => one.tagName !== "A" || /^\\s*javascript:/i.test(one.getAttribute("href")
  ?? one.getAttribute("xlink:href") ?? "")).map((one) => one.outerHTML.slice(0, 200)).join()"""


@pytest.fixture(scope="module")
def hostile_set(trained: Trained) -> Path:
    """The training set again, with other names of its classes."""
    folder = trained.shards.train.parent.with_name("hostile")
    shutil.copytree(trained.shards.train.parent, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for one, attack in zip(manifest["classes"], _ATTACKS, strict=True):
        one["name"] = attack
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder / "manifest.json"


def assert_inert(page: Page) -> None:
    found = page.evaluate(_TAKEN_FOR_MARKUP)
    assert not found, (page.url, found)


def test_classes_and_logs_are_texts(
    context: BrowserContext, page: Page, trained: Trained, hostile_set: Path
) -> None:
    control_plane = trained.control_plane
    data = {"train": str(hostile_set), "validation": str(hostile_set)}
    optim = {"global_batch_size": 16, "epochs": 1}
    job_id = control_plane.submit(**trained.request("hostile", data=data, optim=optim))
    page.goto(trained.job_url(job_id))
    log = control_plane.run_directory(job_id) / "attempts/0001/driver.log"
    wait_for("the log", log.exists, timeout_s=120)
    with log.open("a") as file:
        file.write("".join(f"{attack}\n" for attack in _ATTACKS))
    # They come with the stream, and then with the page.
    expect(page.locator("#log-text")).to_contain_text(_ATTACKS[0])
    control_plane.wait_status(job_id, "SUCCEEDED")
    expect(page.locator("#head .state")).to_have_text("Succeeded")
    expect(page.locator("#guesses")).to_contain_text("window.")
    wait_drawn(page)
    assert_inert(page)
    location = quote(str(hostile_set), safe="")
    for path in (
        f"/ui/jobs/{job_id}",
        f"/ui/compare?job={job_id}&job={trained.over_id}",
        f"/ui/data?location={location}",
        "/ui/",
        "/ui/cluster",
        f"/ui/submit?clone={job_id}",
    ):
        page.goto(f"{trained.url}{path}")
        look = page.get_by_role("button", name="Look into the set")
        if look.is_visible():
            look.click()
            expect(page.locator("img.sheet").first).to_be_visible()
        wait_drawn(page)
        assert_inert(page)


@pytest.mark.parametrize("attack", _ATTACKS)
def test_what_is_asked_for_is_a_text(page: Page, trained: Trained, attack: str) -> None:
    text = quote(attack, safe="")
    for path in (
        f"/ui/?q={text}",
        f"/ui/?label={text}",
        f"/ui/?status={text}",
        f"/ui/compare?job={text}",
        f"/ui/data?location={text}",
        f"/ui/jobs/{text}",
        f"/ui/{text}",
        f"/ui/sign-in?next={text}",
    ):
        page.goto(f"{trained.url}{path}")
        assert_inert(page)


@pytest.mark.parametrize("attack", _ATTACKS[:3])
def test_what_is_submitted_is_a_text(page: Page, trained: Trained, attack: str) -> None:
    page.goto(f"{trained.url}/ui/submit")
    fill_form(page, trained, name=attack)
    page.get_by_label("Labels").fill(f"team={attack}")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#field-name-error")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value(attack)
    assert_inert(page)
    page.goto(f"{trained.url}/ui/submit?by=spec")
    page.get_by_label("Spec as JSON").fill(json.dumps({"preset": attack, attack: attack}))
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator(".error").first).to_be_visible()
    assert_inert(page)
