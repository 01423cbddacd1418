"""Templates, and what keeps others' text inert."""

import json
import re
from html import unescape
from pathlib import Path

from service.ui import rendering
from service.ui.charts import Chart, axis, line
from service.ui.rendering import HEADERS, fragment

UI = Path(rendering.__file__).parent
EVIL = "</script><script>alert(1)</script>\u2028&'\""


def html_of(text: str) -> str:
    """Return what plotly shows of a text: it has markup of its own."""
    assert "<" not in text
    return unescape(text)


def chart_html(text: str) -> str:
    chart = Chart(
        id="loss",
        title=text,
        data=[line(text, [1, 2], [3.0, None])],
        layout={"xaxis": axis(text)},
        columns=("step", text),
        rows=((text, text),),
        note=text,
    )
    source = '{% import "_macros.html" as ui %}{{ ui.chart(chart) }}'
    return rendering._environment().from_string(source).render(chart=chart)


def test_a_figure_is_json_that_ends_no_script_and_reads_as_it_was() -> None:
    html = chart_html(EVIL)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    assert not set(scripts[0]) & set("<>&'\u2028")
    figure = json.loads(scripts[0])
    assert html_of(figure["data"][0]["name"]) == EVIL
    assert html_of(figure["layout"]["xaxis"]["title"]["text"]) == EVIL


def test_behind_a_chart_lies_a_table_of_its_numbers() -> None:
    html = chart_html("loss")
    assert "<details" in html
    assert '<th scope="row">loss</th>' in html


def test_text_of_others_is_text_wherever_it_stands() -> None:
    html = chart_html('"><img src=x onerror=alert(1)>')
    assert "<img" not in html


def test_nothing_is_fetched_from_elsewhere_and_no_script_lies_in_a_page() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    for file in [*UI.rglob("*.html"), *UI.rglob("*.css"), *UI.rglob("*.js")]:
        text = file.read_text()
        urls = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not urls, file
        assert not re.search(r"\son\w+=\"", text), file
        assert not re.search(r"\|\s*safe\b", text), file
        assert not re.search(r"<script(?![^>]*(src=|type=\"application/json\"))", text), file


def test_only_fragments_of_the_server_become_markup() -> None:
    uses = [
        (file.name, text.strip())
        for file in UI.rglob("*.js")
        for text in file.read_text().splitlines()
        if re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    ]
    assert uses == [("live.js", "template.innerHTML = html;")]


def test_own_scripts_are_a_few_hundred_lines() -> None:
    assert sum(len(file.read_text().splitlines()) for file in UI.rglob("*.js")) < 700


def test_a_fragment_needs_no_page() -> None:
    assert "<html" not in fragment("_chart_scripts.html")
