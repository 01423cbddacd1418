"""What holds for every test, and the object store that some share."""

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from data_shards.user_cache import KERNELS_VARIABLE, kernels_folder
from tests.last_rites import last_rites
from tests.object_store import ObjectStore, forget_clients, running_store
from tests.postgres import Postgres, programs_folder, running_postgres

# The machines are shared and noisy: no test may fail for its duration. Derandomised, the examples
# are the same in every run, until the test or the code that it draws from changes.
settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")

_bucket_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_the_tests() -> Iterator[None]:
    """What they start ends with this process: by Ctrl-C, for its time, or killed."""
    with last_rites():
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of files that end with the tests ends too; kernels alone are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNELS_VARIABLE, str(kernels_folder()))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3-speaking server on loopback, started when the first test asks for it."""
    with running_store() as store:
        yield store


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new, empty bucket, which this process and its children can open by it."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    return object_store.make_bucket(f"bucket-{next(_bucket_numbers)}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL on loopback, started when the first test asks for it."""
    if programs_folder() is None:
        missing = "PostgreSQL is not installed (Debian: apt install postgresql)"
        # What CI does not test would go unnoticed.
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    with running_postgres() as server:
        yield server
