"""The services that are attacked, one of each kind for all attacks."""

from collections.abc import Iterator

import pytest

from tests.faults.attacks.targets import Target, Unguarded, attacked


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The service as it is run."""
    with attacked(tmp_path_factory.mktemp("attacked")) as target:
        yield target


@pytest.fixture(scope="session")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service that refuses nothing."""
    with attacked(tmp_path_factory.mktemp("unguarded"), Unguarded) as target:
        yield target
