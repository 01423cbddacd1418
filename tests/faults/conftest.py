"""Every test here is of a fault; together they report a table."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.report import as_json, rows, table, untried
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trials
from tests.integration.trainer.conftest import pack_few

_trials = Trials()
_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run say that it is of all of them."""
    parser.addoption(
        "--all-rows",
        action="store_true",
        help="fail if a row of the table of faults was not tried and no test was skipped",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, so that other runs leave it out."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def faults() -> Trials:
    """Where each fault is noted that is seen through."""
    return _trials


@pytest.fixture(scope="session")
def small_jobs(tmp_path_factory: pytest.TempPathFactory) -> SmallJobs:
    """A job of seconds, on few images."""
    folder = tmp_path_factory.mktemp("small-jobs")
    return SmallJobs(folder, pack_few(folder))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and the whole of it in one last line."""
    report = rows(_trials.all)
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
    if (
        not session.config.getoption("all_rows", default=False)
        or session.exitstatus != pytest.ExitCode.OK
    ):
        return
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if untried(rows(_trials.all)) and not reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
