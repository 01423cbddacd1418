import pytest


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Both, in `make quick` too."""
    return str(request.param)
