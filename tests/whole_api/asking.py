"""Asks every operation of the API, with tokens of every role; counts what is answered."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.access.caller import Role
from service.problems import MEDIA_TYPE, Problem, ProblemType
from tests.whole_api.belongings import STEPS, Belongings
from tests.whole_api.cases import allowed, case_of, refused
from tests.whole_api.known_requests import (
    ARTIFACTS,
    READY,
    REPORTS,
    known_requests,
    least_role,
)
from trainer.contract.status import Status

AS_DESCRIBED = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_STREAMED = ("GET /jobs/{job_id}/events", "GET /jobs/{job_id}/logs")
# What takes away what the rest asks about: after all else, in this order.
_LAST = (
    "POST /jobs/{job_id}/cancel",
    "DELETE /jobs/{job_id}/checkpoints/{step}",
    "DELETE /webhooks/{webhook_id}",
    "PUT /quotas/{owner}",
    "POST /drain",
    "POST /undrain",
    "DELETE /jobs/{job_id}",
    "POST /tokens",
    "DELETE /tokens/{token_id}",
)


def is_problem(_context: object, response: Any, _case: object) -> None:
    """Check that a refusal is a problem document that says what is wrong."""
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [MEDIA_TYPE]
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert problem.title == next(one.summary for one in ProblemType if one == problem.type)
    assert problem.detail
    assert all(error.message for error in problem.errors)


class WholeApi:
    """A service's API as it describes itself, and what each role has there."""

    def __init__(
        self,
        schema: schemathesis.BaseSchema,
        belongings: Sequence[Belongings],
        *,
        streamed: Sequence[Status] = tuple(Status),
    ) -> None:
        """`streamed`: jobs whose streams end."""
        # The token is always sent: who is let in without one is another test's.
        schema.config.generation.update(with_security_parameters=False)
        self._belongings = belongings
        self._streamed = streamed
        self._statuses: dict[tuple[str, Role], Counter[int]] = defaultdict(Counter)
        self._succeeded: set[tuple[str, Role]] = set()
        self._refused: list[str] = []
        """Known requests that did not succeed, though the role allows them."""
        found = []
        for one in schema.get_all_operations():
            assert isinstance(one, Ok), f"this is no operation: {one.err()}"
            found.append(one.ok())
        self._operations = sorted(found, key=_place)

    def ask(
        self,
        num_allowed: int,
        num_refused: int,
        within: Callable[[Role], AbstractContextManager[object]],
    ) -> list[str]:
        """Ask each operation for each role so many times, and what is known; return what is wrong.

        `within`: entered around what is asked of one operation.
        """
        wrong = []
        for own in self._belongings:
            for operation in self._operations:
                try:
                    with within(own.role):
                        self._ask_known(operation, own)
                        self._ask_at_random(operation, own, num_allowed, num_refused)
                except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # all are told at once
                    notes = "\n".join(getattr(error, "__notes__", ()))
                    wrong.append(f"{operation.label} as {own.role}: {error}\n{notes}")
        return wrong

    def unreached(self) -> list[str]:
        """Tell of what never succeeded though the role allows it, and of the opposite."""
        told = list(self._refused)
        for operation in self._operations:
            for own in self._belongings:
                may = _may(operation.label, own.role)
                if may != ((operation.label, own.role) in self._succeeded):
                    what = "never succeeded" if may else "succeeded"
                    told.append(f"{operation.label} as {own.role} {what}")
        return told

    def table(self) -> str:
        """Return how often each status was answered, by operation and role."""
        roles = [own.role for own in self._belongings]
        width = max(len(operation.label) for operation in self._operations)
        lines = [f"{'':{width}}  {'  '.join(f'{role:32}' for role in roles)}"]
        for operation in self._operations:
            counts = [self._statuses[operation.label, role] for role in roles]
            cells = (" ".join(f"{s}:{n}" for s, n in sorted(one.items())) for one in counts)
            lines.append(
                f"{operation.label:{width}}  {'  '.join(f'{cell:32}' for cell in cells)}".rstrip()
            )
        return "\n".join(lines)

    def _ask_known(self, operation: Any, own: Belongings) -> None:
        for known in known_requests(operation.label, own):
            self._send(case_of(operation, known), own, is_known=True)

    def _ask_at_random(
        self, operation: Any, own: Belongings, num_allowed: int, num_refused: int
    ) -> None:
        known, ids = known_requests(operation.label, own), self._ids(operation.label)

        def ask_each(cases: st.SearchStrategy[Any], number: int) -> None:
            @seed(f"{operation.label} {own.role}")
            @settings(
                max_examples=number,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )
            @given(case=cases)
            def ask(case: schemathesis.Case[Any]) -> None:
                self._send(case, own)

            ask()

        ask_each(allowed(operation, known, ids), num_allowed)
        wrong = refused(operation, ids)
        if wrong is not None:
            ask_each(wrong, num_refused)

    def _send(
        self, case: schemathesis.Case[Any], own: Belongings, *, is_known: bool = False
    ) -> None:
        label = case.operation.label
        token = own.attempt_token if label == REPORTS else own.token
        headers = {"Authorization": f"Bearer {token}"}
        try:
            response = case.call(headers=headers, timeout=30)
        except Exception as error:
            error.add_note(case.as_curl_command())
            raise
        key, status = (label, own.role), response.status_code
        self._statuses[key][status] += 1
        if status < 300:
            self._succeeded.add(key)
        elif is_known and _may(label, own.role):
            self._refused.append(f"{label} as {own.role}: {case.body!r}: {status} {response.text}")
        checks = [*AS_DESCRIBED, negative_data_rejection]
        if label != READY:
            checks += [not_a_server_error, is_problem]
        case.validate_response(response, checks=checks, headers=headers)

    def _ids(self, label: str) -> dict[str, list[Any]]:
        """Return what there is of all roles, by path parameter."""
        statuses = self._streamed if label in _STREAMED else list(Status)
        jobs = [own.job(status) for own in self._belongings for status in statuses]
        return {
            "job_id": jobs,
            "attempt": [1, 2],
            # The first is there until it is known to be deleted.
            "step": [*STEPS[1:], 15],
            "path": [*ARTIFACTS, "attempts/0001/order.json", "attempts"],
            "token_id": [own.spare_token_id for own in self._belongings],
            "webhook_id": [own.webhook_id for own in self._belongings],
            "owner": [own.owner for own in self._belongings],
        }


def _may(label: str, role: Role) -> bool:
    return label != READY and role.covers(least_role(label))


def _place(operation: Any) -> int:
    return _LAST.index(operation.label) + 1 if operation.label in _LAST else 0
