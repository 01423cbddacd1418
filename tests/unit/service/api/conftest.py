from collections.abc import Iterator

import pytest

from service.settings import Settings
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, guarding


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    with guarding(settings, databases) as served:
        yield served
