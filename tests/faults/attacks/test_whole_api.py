"""Whatever the description allows, sent to the service with a token of each role."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from service.access.caller import Role
from tests.faults.attacks.targets import ATTACK, IDLE, Target, attacked
from tests.faults.trials import TRIALS_VARIABLE, Trials
from tests.unit.service.api.test_schema import AS_DESCRIBED, UNREADY
from trainer.contract.status import TERMINAL

FAULT = "whatever the API's description allows, as {role}"
EXAMPLES = 20
JOBS = [status.lower() for status in IDLE]
ENDED = [status.lower() for status in IDLE if status in TERMINAL]
# Streams of others would go on until they end.
STREAMED = ("/jobs/{job_id}/events", "/jobs/{job_id}/logs")
# What would end the token that asks, or take away what is asked about: after all else.
LAST = (
    ("POST", "/drain"),
    ("POST", "/undrain"),
    ("DELETE", "/jobs/{job_id}"),
    ("POST", "/tokens"),
    ("DELETE", "/tokens/{token_id}"),
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service for this alone: what is asked here changes whatever can be changed."""
    with attacked(tmp_path_factory.mktemp("described")) as target:
        yield target


def operations_of(target: Target) -> list[Any]:
    """Return all operations, those last that the rest needs undone."""
    described = schemathesis.openapi.from_url(f"{target.plane.url}/openapi.json")
    found = [one.ok() for one in described.get_all_operations() if isinstance(one, Ok)]

    def place(operation: Any) -> int:
        key = operation.method.upper(), operation.path
        return LAST.index(key) + 1 if key in LAST else 0

    return sorted(found, key=place)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", Role)
def test_whatever_is_sent_is_answered_as_described(
    faults: Trials, described: Target, role: Role
) -> None:
    wrong = []
    for operation in operations_of(described):
        try:
            with faults.trial(ATTACK, FAULT.format(role=role)):
                ask_at_random(described, operation, role)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # all are told at once
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    with faults.trial(ATTACK, FAULT.format(role=role)) as trial:
        described.check_whole(trial)
        let_in = described.ask("GET", "/jobs", token=role).status_code
        trial.must(let_in == 200, "A", f"the token was none, or is none any more: {let_in}")


def ask_at_random(target: Target, operation: Any, role: Role) -> None:
    # There is no Ray here, and /readyz says so: 503.
    checks = AS_DESCRIBED if operation.path == UNREADY else [*AS_DESCRIBED, not_a_server_error]
    jobs = ENDED if operation.path in STREAMED else JOBS

    @settings(
        max_examples=EXAMPLES * int(os.environ.get(TRIALS_VARIABLE, "1")),
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(), job_id=st.none() | st.sampled_from(jobs))
    def ask(case: schemathesis.Case[Any], job_id: str | None) -> None:
        # Of jobs that there are more can be asked.
        if job_id is not None and "job_id" in (case.path_parameters or {}):
            case.path_parameters["job_id"] = job_id
        headers = {"Authorization": f"Bearer {target.tokens[role]}"}
        case.call_and_validate(checks=checks, headers=headers, timeout=30)

    ask()
