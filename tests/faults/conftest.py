"""Every test here is of a fault; together they report a table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from xdist.remote import Producer

from tests.faults.beside import Beside, place
from tests.faults.report import as_json, rows, table, untried
from tests.faults.small_jobs import SmallJobs, alone_in
from tests.faults.trials import Trials
from tests.integration.trainer.conftest import Shards, pack_few
from tests.warm_python import warm_process

_reported = Trials()
"""Of all tests, whichever process they ran in."""
_GIVEN = "trials"
_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run say that it is of all of them."""
    parser.addoption(
        "--all-rows",
        action="store_true",
        help="fail if a row of the table of faults was not tried and no test was skipped",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, so that other runs leave it out, and begin with what takes longest."""
    own = [item for item in items if item.path.is_relative_to(_HERE)]
    for item in own:
        item.add_marker(pytest.mark.faults)
    rest = [item for item in items if item not in own]
    items[:] = [*rest, *sorted(own, key=lambda item: place(item.nodeid))]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Beside:
    """Have several processes run what shares nothing, where the run is of faults alone."""
    return Beside(config, log)


@pytest.fixture(scope="session")
def faults() -> Trials:
    """Where each fault is noted that is seen through."""
    return Trials()


@pytest.fixture(autouse=True)
def given(faults: Trials, request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the trials that have ended with the report of each test: it may run beside others."""
    yield
    request.node.user_properties.append((_GIVEN, faults.give()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take them from a report."""
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == _GIVEN:
                _reported.take(str(value))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have attempts forked that need not be Ray's."""
    with warm_process(tmp_path_factory.getbasetemp() / "fork.sock"):
        yield


@pytest.fixture(scope="session")
def small_jobs(tmp_path_factory: pytest.TempPathFactory, worker_id: str, warm: None) -> SmallJobs:
    """A job of seconds, on few images: the same for all processes that the tests run in."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "small-jobs"
    folder.mkdir(exist_ok=True)
    shards = Shards(*(folder / split / "manifest.json" for split in ("train", "validation")))
    with alone_in(folder):
        # It is written last.
        if not shards.validation.exists():
            assert pack_few(folder) == shards
    return SmallJobs(folder, shards)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and the whole of it in one last line."""
    report = rows(_reported.all)
    if not report:
        return
    terminalreporter.section("faults")
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(table(report))
    terminalreporter.write_line(captured.get())
    if terminalreporter.config.getoption("all_rows", default=False) and (rest := untried(report)):
        terminalreporter.write_line(f"not tried: rows {', '.join(rest)}", red=True)
        for skipped in terminalreporter.stats.get("skipped", ()):
            terminalreporter.write_line(f"  {skipped.nodeid}: {skipped.longrepr[2]}")
    terminalreporter.write_line(as_json(report))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a row is missing for no reason that a skipped test gives."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if (
        # One of several processes, of which another reports.
        reporter is None
        or not session.config.getoption("all_rows", default=False)
        or session.exitstatus != pytest.ExitCode.OK
    ):
        return
    if untried(rows(_reported.all)) and not reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
