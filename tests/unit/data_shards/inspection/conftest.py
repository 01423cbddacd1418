"""Workers inside the test's own process, which start at once, unless a test wants real ones."""

import pytest

from data_shards.inspection import index_foreign, verify
from tests.unit.data_shards.packing.rehearsal import InlinePool


@pytest.fixture
def real_processes() -> None:
    """Asked for by a test that wants them."""


@pytest.fixture(autouse=True)
def inline_pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_processes" not in request.fixturenames:
        for module in (index_foreign, verify):
            monkeypatch.setattr(module, "WorkerPool", InlinePool)
