from collections.abc import Iterator

import httpx
import pytest

from service.settings import Settings
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, guarding

# What a browser says of a form of ours.
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    with guarding(settings, databases) as served:
        yield served


@pytest.fixture
def browser(http: httpx.Client) -> Iterator[httpx.Client]:
    """Of someone who looks at the page where no tokens are asked for."""
    # The first page with a chart waits until plotly's script is compressed.
    with httpx.Client(base_url=http.base_url, headers=OURS, timeout=60) as client:
        yield client
