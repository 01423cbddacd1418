from pathlib import Path

import httpx
import pytest

from service.control_plane import ControlPlane
from tests.unit.service.conftest import job_in
from trainer.contract.status import Status


@pytest.fixture(scope="module")
def run(plane: ControlPlane) -> Path:
    """The run directory of a job `files`."""
    job_in(plane.store, Status.RUNNING, "files")
    run = plane.settings.run_root / "files"
    (run / "attempts" / "0001").mkdir(parents=True)
    (run / "report.md").write_text("<script>")
    (run / "attempts" / "0001" / "order.json").write_text("the token")
    (run / "attempts" / "0001" / "ledger-0.jsonl").write_bytes(bytes(range(100)))
    (run / "out").symlink_to(plane.settings.state_dir)
    return run


def test_the_files_of_a_run_are_listed_and_read(http: httpx.Client, run: Path) -> None:
    listed = http.get("/jobs/files/artifacts").raise_for_status().json()
    assert not listed["truncated"]
    assert [(one["path"], one["size_bytes"]) for one in listed["artifacts"]] == [
        ("attempts/0001/ledger-0.jsonl", 100),
        ("report.md", 8),
    ]
    for one in listed["artifacts"]:
        answer = http.get(f"/jobs/files/artifacts/{one['path']}").raise_for_status()
        assert answer.content == (run / one["path"]).read_bytes()


def test_a_page_in_a_run_directory_is_no_page_of_the_service(http: httpx.Client, run: Path) -> None:
    answer = http.get("/jobs/files/artifacts/report.md")
    assert answer.headers["Content-Type"].startswith("text/markdown")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox"


def test_a_file_is_read_by_ranges(http: httpx.Client, run: Path) -> None:
    path = "/jobs/files/artifacts/attempts/0001/ledger-0.jsonl"
    answer = http.get(path, headers={"Range": "bytes=-3"})
    assert (answer.status_code, answer.content) == (206, bytes([97, 98, 99]))
    etag = answer.headers["ETag"]
    same = http.get(path, headers={"Range": "bytes=5-6", "If-Range": etag})
    assert (same.status_code, same.content) == (206, bytes([5, 6]))
    other = http.get(path, headers={"Range": "bytes=5-6", "If-Range": '"other"'})
    assert (other.status_code, len(other.content)) == (200, 100)


def test_what_is_known_by_its_tag_is_not_sent_again(http: httpx.Client, run: Path) -> None:
    path = "/jobs/files/artifacts/report.md"
    first = http.get(path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = http.get(path, headers={"If-None-Match": known, "Range": "bytes=1-2"})
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["ETag"], again.headers["Cache-Control"]) == (
            etag,
            "private, no-cache",
        )
    in_lines = [("If-None-Match", '"other"'), ("If-None-Match", etag)]
    assert http.get(path, headers=in_lines).status_code == 304
    assert http.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    (run / "report.md").write_text("changed!")
    assert http.get(path, headers={"If-None-Match": etag}).text == "changed!"
    (run / "report.md").write_text("<script>")


@pytest.mark.parametrize(
    "path",
    [
        "attempts/0001/order.json",
        "attempts/0001/%6frder.json",
        "attempts/0001",
        "..%2f..%2fstore.db",
        "%2e%2e/%2e%2e/store.db",
        "%2e%2e%2freport.md",
        "out/store.db",
        "report.md%00",
        "%2fetc%2fpasswd",
        "none",
    ],
)
def test_nothing_else_is_found(http: httpx.Client, run: Path, path: str) -> None:
    answer = http.get(f"/jobs/files/artifacts/{path}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_job_that_never_began_has_no_files(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.QUEUED, "nofiles")
    assert http.get("/jobs/nofiles/artifacts").json()["artifacts"] == []
    assert http.get("/jobs/nosuchjob/artifacts").status_code == 404


def test_a_list_that_is_too_long_says_so(
    http: httpx.Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.artifacts.MAX_LISTED", 1)
    listed = http.get("/jobs/files/artifacts").json()
    assert (len(listed["artifacts"]), listed["truncated"]) == (1, True)
