"""The whole API, asked by what it says of itself."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import BaseSchema
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api.app import create_app
from service.control_plane import ControlPlane
from service.settings import Settings
from tests.unit.service.conftest import job_in
from trainer.contract.status import Status

AS_DESCRIBED = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# There is no Ray here, and /readyz says so: 503.
UNREADY = "/readyz"
JOBS = [status.lower() for status in Status]


@pytest.fixture(scope="module")
def described(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    folder = tmp_path_factory.mktemp("described")
    own = settings.model_copy(
        update={
            "state_dir": folder,
            "store_url": f"sqlite:///{folder}/store.db",
            "run_root": folder / "runs",
            "requests_per_second": None,
            "allowed_hosts": ("*",),
            "trusted_network": True,
        }
    )
    plane = ControlPlane(own, token=None)
    plane.try_to_lead()
    for status, job_id in zip(Status, JOBS, strict=True):
        job_in(plane.store, status, job_id)
    # Streams end at once, as they do when the service stops.
    plane.begin_stop()
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(plane))
    plane.stop()


def test_jobs_are_answered_as_described(described: BaseSchema) -> None:
    """Without FastAPI's own check of what it is to answer."""
    described["/jobs"]["GET"].Case().call_and_validate(checks=AS_DESCRIBED)
    for job_id in JOBS:
        one = described["/jobs/{job_id}"]["GET"].Case(path_parameters={"job_id": job_id})
        one.call_and_validate(checks=AS_DESCRIBED)


@pytest.mark.slow
def test_whatever_is_sent_is_answered_as_described(described: BaseSchema) -> None:
    told = []
    for found in described.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        try:
            ask_at_random(operation)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # all are told at once
            told.append(f"{operation.label}: {error}")
    assert not told, "\n\n".join(told)


def ask_at_random(operation: Any) -> None:
    always = [] if operation.path == UNREADY else [not_a_server_error]

    @settings(
        max_examples=25,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(), job_id=st.none() | st.sampled_from(JOBS))
    def ask(case: schemathesis.Case[Any], job_id: str | None) -> None:
        # Of jobs that there are more can be asked.
        if job_id is not None and "job_id" in (case.path_parameters or {}):
            case.path_parameters["job_id"] = job_id
        case.call_and_validate(checks=[*always, *AS_DESCRIBED])

    ask()
