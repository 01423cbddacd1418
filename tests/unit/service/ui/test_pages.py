"""Where pages lead."""

import pytest

from service.ui.pages import local_path


@pytest.mark.parametrize("path", ["/ui/", "/ui/?q=/../b&cursor=3", "/ui/jobs/a"])
def test_a_form_leads_back_to_where_it_was(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/jobs",
        "//evil.example/ui/",
        "//[",
        "/ui//[/../..",
        "https://evil.example/ui/",
        "/ui/\r\nSet-Cookie: a=b",
        "/ui/ü",
        "javascript:alert(1)",
        "/\\evil.example",
        "/ui/../jobs",
        "/ui/..",
        "/ui/%2e%2E/jobs",
        "/ui/..\\jobs",
        "/ui/.\t./jobs",
    ],
)
def test_no_form_leads_elsewhere(path: str) -> None:
    assert local_path(path) == "/ui/"
