"""Jobs by form and by spec, over real HTTP."""

import html
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.caller import Caller, Role
from service.control_plane import ControlPlane
from tests.unit.service.conftest import make_spec, now
from tests.unit.service.guarded import Guarded

EVIL = "</textarea><script>alert(1)</script>"


@pytest.fixture
def form(request_body: dict[str, Any]) -> dict[str, str]:
    return {
        "name": "by form",
        "preset": "small",
        "data.train": request_body["data"]["train"],
        "data.validation": request_body["data"]["validation"],
        "optim.epochs": "",
    }


def hidden(page: str, name: str) -> str:
    (value,) = re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)"', page)
    return html.unescape(value)


def confirmed(browser: httpx.Client, page: str) -> httpx.Response:
    """Press the button below a plan."""
    (shown,) = re.findall(r'<form class="form confirm".*?</form>', page, re.DOTALL)
    names = re.findall(r'<input type="hidden" name="([^"]*)"', shown)
    return browser.post("/ui/submit", data={name: hidden(shown, name) for name in names})


def turned(browser: httpx.Client, to: str, written: dict[str, str]) -> httpx.Response:
    return browser.post("/ui/submit/turn", data=written | {"to": to})


def spec_in(page: str) -> Any:
    (text,) = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    return json.loads(html.unescape(text))


def num_jobs(plane: ControlPlane) -> int:
    return len(plane.store.jobs(limit=500))


def test_a_plan_is_shown_before_a_job_is_sent(
    browser: httpx.Client, plane: ControlPlane, form: dict[str, str]
) -> None:
    before = num_jobs(plane)
    page = browser.post("/ui/submit/plan", data=form)
    assert page.status_code == 200, page.text
    for told in ("What is foreseen of “by form”", "Starts", "Train shards", 'value="by form"'):
        assert told in page.text
    assert num_jobs(plane) == before
    answer = confirmed(browser, page.text)
    assert answer.status_code == 303
    job = plane.store.job(answer.headers["Location"].removeprefix("/ui/jobs/"))
    assert job.spec.name == "by form"
    assert job.spec.model.width == 0.25


def test_a_double_click_makes_one_job(
    browser: httpx.Client, plane: ControlPlane, form: dict[str, str]
) -> None:
    page = browser.post("/ui/submit/plan", data=form).text
    before = num_jobs(plane)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: confirmed(browser, page), range(4)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert num_jobs(plane) == before + 1
    # Another plan is another job.
    again = confirmed(browser, browser.post("/ui/submit/plan", data=form).text)
    assert again.headers["Location"] != answers[0].headers["Location"]


def test_what_is_wrong_is_told_beside_its_field(
    browser: httpx.Client, plane: ControlPlane, form: dict[str, str]
) -> None:
    before = num_jobs(plane)
    wrong = form | {"optim.epochs": "-3", "name": EVIL, "labels": "Team=a"}
    page = browser.post("/ui/submit/plan", data=wrong)
    assert page.status_code == 422
    for field in ("optim-epochs", "name", "labels"):
        assert re.search(rf'aria-describedby="[^"]*field-{field}-error"', page.text), field
        assert f'id="field-{field}-error"' in page.text
    assert EVIL not in page.text
    assert 'value="-3"' in page.text
    assert "Submit this job" not in page.text
    assert num_jobs(plane) == before


@pytest.mark.parametrize("labels", ["team", "team=a, team=b"])
def test_a_label_without_a_value_is_refused_beside_its_field(
    browser: httpx.Client, form: dict[str, str], labels: str
) -> None:
    page = browser.post("/ui/submit/plan", data=form | {"labels": labels, "seed": "many"})
    assert page.status_code == 422
    told = re.findall(r'id="field-(labels|seed)-error">([^<]*)', page.text)
    assert [field for field, _ in told] == ["seed", "labels"]
    assert "write KEY=VALUE" in dict(told)["labels"]


def test_whoever_is_refused_after_the_plan_keeps_the_form(
    browser: httpx.Client,
    plane: ControlPlane,
    form: dict[str, str],
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form |= {"private": "yes", "labels": "team=vision"}
    page = browser.post("/ui/submit/plan", data=form).text
    before = num_jobs(plane)
    manifest = data_root / "train" / "manifest.json"
    aside = manifest.rename(manifest.with_suffix(".aside"))
    refused = confirmed(browser, page)
    aside.rename(manifest)
    assert refused.status_code == 422
    assert 'id="field-data-train-error"' in refused.text
    monkeypatch.setattr(ControlPlane, "is_leader", property(lambda _: False))
    stands_by = confirmed(browser, page)
    assert stands_by.status_code == 503
    for answer in (refused, stands_by):
        for told in ('value="by form"', 'value="team=vision"', 'value="yes" checked'):
            assert told in answer.text
        assert "<textarea" not in answer.text
    assert num_jobs(plane) == before


def test_what_was_written_is_carried_to_the_other_tab_and_back(
    browser: httpx.Client, form: dict[str, str]
) -> None:
    form |= {"optim.epochs": "3", "labels": "team", "private": "yes"}
    spec = spec_in(turned(browser, "spec", form).text)
    assert (spec["optim"], spec["labels"], spec["private"]) == ({"epochs": 3}, "team", True)
    back = turned(browser, "form", {"spec": json.dumps(spec)})
    assert back.status_code == 200
    for told in ('value="by form"', 'value="3"', 'value="team"', 'value="yes" checked'):
        assert told in back.text


def test_an_untouched_form_turns_to_an_example_and_that_to_an_empty_form(
    browser: httpx.Client,
) -> None:
    page = turned(browser, "spec", {"preset": "large_batch", "name": ""}).text
    assert (spec_in(page)["name"], spec_in(page)["preset"]) == ("first light", "large_batch")
    back = turned(browser, "form", {"spec": json.dumps(spec_in(page))}).text
    assert "first light" not in back
    assert "<option selected>large_batch" in back


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ('{"model": {"width": 0.5}}', "<code>model</code>: the form has no field"),
        ('{"seed": "3"}', "<code>seed</code>: the form&#39;s field cannot hold this"),
        ("{", "this is not JSON"),
    ],
)
def test_what_the_form_cannot_tell_stays_a_spec_and_is_named(
    browser: httpx.Client, spec: str, says: str
) -> None:
    page = turned(browser, "form", {"spec": spec})
    assert page.status_code == 422
    assert says in page.text
    assert html.escape(spec) in page.text.replace("&#34;", "&quot;")


def test_a_spec_is_pasted(
    browser: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    spec = json.dumps(request_body | {"name": "pasted", "seed": 7})
    page = browser.post("/ui/submit/plan", data={"spec": spec})
    assert page.status_code == 200, page.text
    answer = confirmed(browser, page.text)
    job = plane.store.job(answer.headers["Location"].removeprefix("/ui/jobs/"))
    assert (job.spec.name, job.spec.seed) == ("pasted", 7)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{", "this is not JSON"),
        ("[]", "not a JSON object"),
        ('{"preset": "none"}', "there is no preset"),
        (EVIL, "this is not JSON"),
    ],
)
def test_a_spec_that_is_refused_stays_with_what_is_wrong(
    browser: httpx.Client, spec: str, says: str
) -> None:
    for path in ("/ui/submit/plan", "/ui/submit"):
        page = browser.post(path, data={"spec": spec})
        assert page.status_code == 422
        assert says in page.text
        assert html.escape(spec, quote=False) in html.unescape(page.text) or spec == EVIL
        assert EVIL not in page.text


def test_a_spec_that_is_refused_after_its_plan_is_shown_again(
    browser: httpx.Client, request_body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = json.dumps(request_body | {"name": "kept"})
    page = browser.post("/ui/submit/plan", data={"spec": spec}).text
    monkeypatch.setattr(ControlPlane, "is_leader", property(lambda _: False))
    # The page of another release has other fields beside it.
    for answer in (
        confirmed(browser, page),
        browser.post("/ui/submit", data={"key": "of before", "spec": spec}),
    ):
        assert answer.status_code == 503
        assert spec_in(answer.text)["name"] == "kept"


def test_a_clone_begins_from_an_earlier_job(
    browser: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    source = (
        confirmed(
            browser,
            browser.post(
                "/ui/submit/plan",
                data={"spec": json.dumps(request_body | {"seed": 3})},
            ).text,
        )
        .headers["Location"]
        .removeprefix("/ui/jobs/")
    )
    page = browser.get(f"/ui/submit?clone={source}").text
    assert source in page
    spec = json.dumps({"clone": source, "name": "twin"})
    shown = browser.post("/ui/submit/plan", data={"spec": spec}).text
    twin = plane.store.job(confirmed(browser, shown).headers["Location"].removeprefix("/ui/jobs/"))
    assert (twin.cloned_from, twin.spec.seed, twin.spec.name) == (source, 3, "twin")


def test_others_private_jobs_are_neither_cloned_nor_their_data_told_of(guarded: Guarded) -> None:
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    spec = make_spec(data={"train": "/secret/t.json", "validation": "/secret/v.json"})
    guarded.plane.store.submit("hidden", spec, now(), by=ann, private=True)
    assert guarded.bob.get("/ui/submit?clone=hidden").status_code == 404
    assert "/secret/" not in guarded.bob.get("/ui/submit").text
    assert "/secret/t.json" in guarded.ann.get("/ui/submit").text
