"""How the API answers: few jobs stored and many, in turns; while attempts report; when scraped.

The real server over loopback. Requests come at 100 a second from processes of their own, timed from
when each was due. Stores of 1,000 and of 100,000 jobs (100 points each) take turns; a figure is the
median over rounds of 99th percentiles, and of the databases the worse.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from service.store.store import Store
from tests.bench.service.filled_store import fill
from tests.bench.service.live_jobs import add_live_jobs, reports
from tests.bench.service.load import Request
from tests.bench.service.pretended_ray import pretended_ray
from tests.bench.service.server import serving

FEW, MANY = 1_000, 100_000
POINTS_PER_JOB = 100
REQUESTS_PER_S, SECONDS, ROUNDS = 100, 10, 3
LIVE_JOBS, POINTS_PER_BATCH = 1_000, 20
# 2,000 points a second: 1,000 jobs that report twice a second, and send what they have every 10 s.
BATCHES_PER_S = 100
SETTINGS = {"ALEXNET_REQUESTS_PER_SECOND": "100000", "ALEXNET_REQUEST_BURST": "100000"}
# Between rounds no attempt reports, and none is to be ended for it.
LIVE = {"ALEXNET_SILENCE_TIMEOUT_S": "3600"}
RAY = "ALEXNET_RAY_ADDRESS"


@dataclass(kw_only=True)
class Api:
    """What was measured on one database; latencies are the 99th percentile in ms, by round."""

    get_few: list[float] = field(default_factory=list)
    get_many: list[float] = field(default_factory=list)
    list_few: list[float] = field(default_factory=list)
    list_many: list[float] = field(default_factory=list)
    get_quiet: list[float] = field(default_factory=list)
    """Beside 1,000 live jobs that say nothing."""
    get_reporting: list[float] = field(default_factory=list)
    """Beside the same while they report."""
    points_per_second: list[float] = field(default_factory=list)
    report_ms: list[float] = field(default_factory=list)
    scrape_ms: list[float] = field(default_factory=list)
    scrape_lines: int = 0


def measure(
    new_store: Callable[[str], str],
    work: Path,
    *,
    many: int,
    rounds: int,
    say: Callable[[str], None],
) -> Api:
    """Measure one database; `new_store` makes an empty store by name and returns its URL."""
    found = Api()
    with ExitStack() as opened:
        stores = {}
        for name, num_jobs in (("few", FEW), ("many", many)):
            say(f"storing {num_jobs:,} jobs with {num_jobs * POINTS_PER_JOB:,} points")
            url = migrated(new_store(name))
            ids = fill(url, work, num_jobs=num_jobs, points_per_job=POINTS_PER_JOB)
            stores[name] = opened.enter_context(serving(work / name, url, SETTINGS)), ids
        for number in range(rounds + 1):
            say(f"asking, round {number} of {rounds}")
            for name, (url, ids) in stores.items():
                got, listed = p99_ms(url, gets(ids)), p99_ms(url, lists(len(ids)))
                if number:  # the first warms up
                    getattr(found, f"get_{name}").append(got)
                    getattr(found, f"list_{name}").append(listed)
    say(f"storing {LIVE_JOBS:,} jobs that run")
    url = migrated(new_store("live"))
    ids = add_live_jobs(url, work / "live" / "runs", work, LIVE_JOBS)
    with pretended_ray() as ray, serving(work / "live", url, SETTINGS | LIVE | {RAY: ray}) as live:
        batches = reports(ids, POINTS_PER_BATCH, BATCHES_PER_S * SECONDS * (rounds + 1))
        for number in range(rounds + 1):
            say(f"reporting, round {number} of {rounds}")
            quiet = p99_ms(live, gets(ids))
            some = batches[number * BATCHES_PER_S * SECONDS :][: BATCHES_PER_S * SECONDS]
            busy, rate, took = beside_reports(live, gets(ids), some)
            scrape_ms, found.scrape_lines = scrape(live)
            if number:
                found.get_quiet.append(quiet)
                found.get_reporting.append(busy)
                found.points_per_second.append(rate)
                found.report_ms.append(took)
                found.scrape_ms.append(scrape_ms)
    return found


def migrated(url: str) -> str:
    """Bring an empty store to this release's schema."""
    store = Store(url)
    store.migrate()
    store.close()
    return url


def gets(ids: list[str]) -> list[Request]:
    """Return requests for single jobs, anywhere in the store."""
    chosen = random.Random(0).choices(ids, k=REQUESTS_PER_S * SECONDS)
    return [Request("GET", f"/jobs/{job_id}", {}) for job_id in chosen]


def lists(num_jobs: int) -> list[Request]:
    """Return requests for pages of jobs, anywhere in the list; a third by status or label."""
    draw = random.Random(0)
    filters = ("", "", "", "", "&status=SUCCEEDED", "&label=team=team-0")
    return [
        Request(
            "GET", f"/jobs?limit=20&cursor={draw.randint(2, num_jobs)}{filters[number % 6]}", {}
        )
        for number in range(REQUESTS_PER_S * SECONDS)
    ]


def p99_ms(url: str, requests: list[Request]) -> float:
    """Send requests at the rate, and return the 99th percentile of how late answers are."""
    with _sending(url, requests, REQUESTS_PER_S) as sent:
        return _p99(_answers(sent))


def beside_reports(
    url: str, requests: list[Request], batches: list[Request]
) -> tuple[float, float, float]:
    """Return p99 beside reports, points taken a second, and the p99 of a report; all in ms."""
    with (
        _sending(url, batches, BATCHES_PER_S) as reporting,
        _sending(url, requests, REQUESTS_PER_S) as asking,
    ):
        reported = _answers(reporting)
        return _p99(_answers(asking)), points_per_second(reported), _p99(reported)


def points_per_second(reported: list[tuple[float, int]]) -> float:
    """Return points taken a second, from when the first batch was due to the last answer."""
    answered = (number / BATCHES_PER_S + late for number, (late, _) in enumerate(reported))
    return len(reported) * POINTS_PER_BATCH / max(answered)


def scrape(url: str) -> tuple[float, int]:
    """Return the median ms of ten scrapes, and the lines of the last."""
    took = []
    text = ""
    for _ in range(10):
        before = time.monotonic()
        text = httpx.get(f"{url}/metrics", timeout=30).raise_for_status().text
        took.append((time.monotonic() - before) * 1000)
    return statistics.median(took), text.count("\n")


@contextmanager
def _sending(
    url: str, requests: list[Request], per_second: float
) -> Iterator["subprocess.Popen[str]"]:
    """Begin to send from a process of its own, which ends with the context."""
    plan = {"url": url, "per_second": per_second, "requests": [asdict(each) for each in requests]}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.service.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdin is not None
            json.dump(plan, process.stdin)
            process.stdin.close()
            yield process
        finally:
            process.kill()


def _answers(process: "subprocess.Popen[str]") -> list[tuple[float, int]]:
    assert process.stdout is not None
    answers = json.load(process.stdout)
    process.wait()
    wrong = [status for _, status in answers if status != 200]
    assert not wrong, f"{len(wrong)} of {len(answers)} answers are errors, such as {wrong[0]}"
    return [(late, status) for late, status in answers]


def _p99(answers: list[tuple[float, int]]) -> float:
    return statistics.quantiles([late * 1000 for late, _ in answers], n=100)[98]
