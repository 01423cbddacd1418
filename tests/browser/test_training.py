"""A job from the form to its checkpoint, seen as it trains."""

import re
import tarfile
from pathlib import Path

import torch
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Trained
from tests.browser.views import fill_form, wait_drawn
from trainer.checkpoints.checkpoint import load_checkpoint
from trainer.contract.spec import JobSpec
from trainer.network.alexnet import AlexNet

_CPU = torch.device("cpu")
_START_MS = 120_000
_NOT_LOADED_ANEW = "mark"


def mark(page: Page) -> None:
    """Mark a page, to see later that it is the same."""
    page.evaluate(f"() => (window.{_NOT_LOADED_ANEW} = true)")


def assert_same(page: Page) -> None:
    assert page.evaluate(f"() => window.{_NOT_LOADED_ANEW} === true"), "the page was loaded anew"


def wait_other_text(page: Page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent.trim() !== text",
        arg=[selector, text.strip()],
    )


def test_a_job_is_submitted_followed_paused_and_resumed(
    context: BrowserContext, page: Page, trained: Trained
) -> None:
    page.goto(f"{trained.url}/ui/submit")
    fill_form(page, trained, name="first light")
    page.get_by_label("Epochs").fill("2000")
    page.get_by_label("Global batch size").fill("as many as fit")
    page.get_by_role("button", name="Show the plan").click()
    error = page.locator("#field-optim-global_batch_size-error")
    expect(error).to_contain_text("integer")
    expect(page.get_by_label("Global batch size")).to_have_value("as many as fit")
    expect(page.locator("#plan-title")).to_have_count(0)

    page.get_by_label("Global batch size").fill("16")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan-title")).to_contain_text("first light")
    expect(page.get_by_role("heading", name="What is foreseen")).to_be_visible()
    page.get_by_role("button", name="Submit this job").click()
    expect(page.locator("#head h1")).to_have_text("first light")
    job_id = page.url.rpartition("/")[2]

    # Another tab, in which nothing is pressed: all that changes there comes by its stream.
    other = context.new_page()
    other.goto(f"{trained.url}/ui/")
    mark(other)
    mark(page)
    state = other.locator(f"#job-{job_id} .state")
    expect(page.locator("#head .state")).to_have_text("Running", timeout=_START_MS)
    expect(state).to_have_text("Running")
    progress = f"#job-{job_id} [data-name=Progress]"
    for one, selector in ((other, progress), (page, "#head .far")):
        one.wait_for_selector(selector)
        wait_other_text(one, selector, one.inner_text(selector))
        assert_same(one)

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#head .state")).to_have_text("Paused", timeout=_START_MS)
    expect(state).to_have_text("Paused")
    other.goto(trained.job_url(job_id))
    mark(other)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#head .state")).to_have_text("Running", timeout=_START_MS)
    expect(other.locator("#head .state")).to_have_text("Running")
    expect(other.locator("#log-text")).to_contain_text("==> attempt 2 <==")
    expect(other.locator("#timeline .entries")).to_contain_text("Paused")
    assert_same(other)

    page.locator("#head summary", has_text="Cancel").click()
    page.get_by_role("button", name="Yes, end it for good").click()
    expect(page.locator("#head .state")).to_have_text("Cancelled", timeout=_START_MS)
    expect(page.locator("#live")).to_be_hidden()


def test_what_a_job_has_learned_is_seen(page: Page, trained: Trained) -> None:
    page.goto(trained.job_url(trained.over_id))
    wait_drawn(page)
    for chart in ("loss", "errors", "phases", "phases-by-step", "throughput", "rate"):
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible()
    assert page.locator("#timeline svg.stretches rect").count() >= 3
    for entry in ("Queued", "Starting", "Running", "Succeeded"):
        expect(page.locator("#timeline .entries")).to_contain_text(entry)

    kernels = page.locator("img.kernels")
    expect(kernels).to_have_count(2)
    newest = kernels.first.get_attribute("src")
    label = page.locator("#kernels-label")
    told = label.inner_text()
    first_guess = page.locator("#guesses figure").first.inner_text()
    page.locator("#kernels-step").press("Home")
    expect(label).not_to_have_text(told)
    assert kernels.first.get_attribute("src") != newest
    # What images are taken for follows the slider.
    expect(page.locator("#guesses figure").first).not_to_have_text(first_guess)
    wait_drawn(page)
    assert page.locator("#guesses figure").count() == 8
    assert page.locator("#guesses figure").first.locator("li").count() == 5
    expect(page.locator("img.confusion")).to_be_visible()


def test_a_checkpoint_is_downloaded_and_loaded(
    page: Page, trained: Trained, tmp_path: Path
) -> None:
    page.goto(trained.job_url(trained.over_id))
    with page.expect_download() as coming:
        page.get_by_role("link", name=re.compile("Download the checkpoint")).first.click()
    with tarfile.open(coming.value.path()) as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    spec = JobSpec.model_validate(trained.control_plane.job(trained.over_id)["spec"])
    network = AlexNet(spec.model, [_CPU, _CPU])
    weights = network.state_dict()
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    before = {name: weight.clone() for name, weight in weights.items()}
    manifest = load_checkpoint(folder, weights, velocity)
    assert f"step-{manifest.step:08}" in folder.name
    assert any(not torch.equal(before[name], weight) for name, weight in weights.items())


def test_recipes_are_copied(context: BrowserContext, page: Page, trained: Trained) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=trained.url)
    page.goto(trained.job_url(trained.job_id))
    for recipe in page.locator(".recipes details").all():
        if recipe.get_attribute("open") is None:
            recipe.locator("summary").click()
        recipe.get_by_role("button", name="Copy").click()
        expect(recipe.get_by_role("button")).to_have_text("Copied")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied == recipe.locator("pre").text_content()


def test_two_jobs_are_compared(page: Page, trained: Trained) -> None:
    page.goto(f"{trained.url}/ui/")
    for name in ("many epochs", "twelve epochs"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare those that are ticked").click()
    wait_drawn(page)
    assert page.locator(".plot .main-svg").count() > 0
    page.get_by_role("link", name="Epoch", exact=True).click()
    wait_drawn(page)
    expect(page.locator("#loss .xtitle")).to_have_text("Epoch")
    # Each line that is smoothed stays, faint.
    lines = page.locator("#loss .scatterlayer .trace")
    expect(lines).to_have_count(4)
    page.get_by_label("Smoothing").first.fill("0")
    expect(lines).to_have_count(2)
    differs = page.get_by_role("row", name="optim.epochs")
    expect(differs).to_contain_text("differs")
    expect(differs).to_contain_text("2000")
