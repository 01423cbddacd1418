"""Requests that succeed: one of every operation or more, about what a role has of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.access.caller import Role
from service.api.dependencies import MAX_INTEGER
from tests.unit.service.conftest import now, progress
from tests.whole_api.belongings import NUM_REPORTED, RECEIVER, STEPS, Belongings
from trainer.contract.events import AttemptEvent
from trainer.contract.status import Status

REPORTS = "POST /jobs/{job_id}/attempts/{attempt}/events"
# There is no Ray where this is asked, and it says so.
READY = "GET /readyz"
ARTIFACTS = (
    "attempts/0001/driver.log",
    "attempts/0001/ledger-0.jsonl",
    "attempts/0001/checkpoints/step-00000040/checkpoint.json",
    "report.json",
    "report.md",
)
_SUBMITTERS = frozenset(
    {
        "POST /jobs",
        "POST /jobs/plan",
        "POST /jobs/{job_id}/clone",
        "PATCH /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "POST /jobs/{job_id}/cancel",
        "POST /jobs/{job_id}/pause",
        "POST /jobs/{job_id}/resume",
        "POST /jobs/{job_id}/checkpoints/{step}/pin",
        "DELETE /jobs/{job_id}/checkpoints/{step}/pin",
        "DELETE /jobs/{job_id}/checkpoints/{step}",
        "GET /webhooks",
        "POST /webhooks",
        "POST /webhooks/{webhook_id}/test",
        "DELETE /webhooks/{webhook_id}",
    }
)
_ADMINS = frozenset(
    {
        "GET /tokens",
        "POST /tokens",
        "DELETE /tokens/{token_id}",
        "GET /quotas/{owner}",
        "PUT /quotas/{owner}",
        "GET /audit",
        "POST /drain",
        "POST /undrain",
    }
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is sent to an operation, beside a token."""

    path_parameters: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """None: none."""


def least_role(label: str) -> Role:
    """Return the first role whose known requests succeed; of attempts' reports it is none's."""
    if label in _ADMINS:
        return Role.ADMIN
    return Role.SUBMITTER if label in _SUBMITTERS else Role.VIEWER


def known_requests(label: str, own: Belongings) -> tuple[Known, ...]:
    """Return what succeeds once of an operation, in that order, if the role allows it at all.

    Raises KeyError of an operation that needs more than a token and has none here: add one.
    """
    found = _of_jobs(own) | _of_run_directories(own) | _of_others(own)
    if label not in found:
        assert "{" not in label, f"say in {__name__} what a request is like that {label} accepts"
        return (Known(),)
    return found[label]


def _of_jobs(own: Belongings) -> dict[str, tuple[Known, ...]]:
    def about(status: Status, **more: Any) -> Known:
        return Known(path_parameters={"job_id": own.job(status)}, **more)

    data = own.spec.data.model_dump(mode="json", include={"train", "validation"})
    evaluation = {
        "kind": "evaluate",
        "name": "a result",
        "data": data,
        "evaluation": {"checkpoints": [f"job:{own.job(Status.SUCCEEDED)}@{STEPS[-1]}"]},
    }
    requests = (
        Known(body=own.spec.model_dump(mode="json")),
        Known(body={"preset": "small", "name": "a job", "data": data, "private": True}),
        Known(body={"clone": own.job(Status.SUCCEEDED), "optim": {"learning_rate": 0.02}}),
        Known(body=evaluation),
        Known(body=own.spec.model_dump(mode="json") | {"kind": "calibrate"}),
    )
    keyed = Known(body=requests[0].body, headers={"Idempotency-Key": f"{own.owner}-1"})
    return {
        "POST /jobs": (*requests, keyed, keyed),
        "POST /jobs/plan": requests,
        "POST /jobs/{job_id}/clone": (
            about(Status.SUCCEEDED, body={}),
            about(Status.RUNNING, body={"optim": {"learning_rate": 0.02, "weight_decay": None}}),
        ),
        "GET /jobs": (
            Known(),
            Known(query={"status": "QUEUED", "limit": 1}),
            Known(query={"cursor": MAX_INTEGER}),
        ),
        "GET /jobs/{job_id}": tuple(about(status) for status in Status),
        "PATCH /jobs/{job_id}": (
            about(Status.QUEUED, body={"priority": 5, "labels": {"team": "vision", "old": None}}),
        ),
        "POST /jobs/{job_id}/pause": (about(Status.RUNNING),),
        "POST /jobs/{job_id}/resume": (about(Status.PAUSED, body={"replicas": 1}),),
        "POST /jobs/{job_id}/cancel": (about(Status.QUEUED),),
        "DELETE /jobs/{job_id}": (about(Status.FAILED),),
        "GET /jobs/{job_id}/events": (
            about(Status.SUCCEEDED),
            about(Status.SUCCEEDED, headers={"Accept": "application/json"}, query={"after": 2}),
            about(Status.QUEUED, query={"after": MAX_INTEGER, "wait_s": 0}),
        ),
        "GET /jobs/{job_id}/metrics": (about(Status.SUCCEEDED), about(Status.QUEUED)),
        "GET /jobs/{job_id}/report": (
            about(Status.SUCCEEDED),
            about(Status.SUCCEEDED, headers={"Accept": "text/markdown"}),
        ),
        REPORTS: tuple(
            Known(
                path_parameters={"job_id": own.job(Status.RUNNING), "attempt": 1},
                body={"events": events},
            )
            for events in ([], [_progress_event(number=NUM_REPORTED + 1)])
        ),
    }


def _of_run_directories(own: Belongings) -> dict[str, tuple[Known, ...]]:
    job_id = own.job(Status.SUCCEEDED)
    job = {"job_id": job_id}
    part = {"Range": "bytes=0-3"}

    def at(step: int, **more: Any) -> Known:
        return Known(path_parameters=job | {"step": step}, **more)

    return {
        "GET /jobs/{job_id}/logs": (
            Known(path_parameters=job),
            Known(path_parameters=job, headers=part),
            Known(path_parameters=job, query={"attempt": "all", "follow": "true"}),
        ),
        "GET /jobs/{job_id}/checkpoints": (Known(path_parameters=job),),
        "GET /jobs/{job_id}/checkpoints/{step}/download": (at(40), at(40, headers=part)),
        "POST /jobs/{job_id}/checkpoints/{step}/pin": (at(20),),
        "DELETE /jobs/{job_id}/checkpoints/{step}/pin": (at(20),),
        "DELETE /jobs/{job_id}/checkpoints/{step}": (at(10),),
        "GET /jobs/{job_id}/artifacts": (Known(path_parameters=job),),
        "GET /jobs/{job_id}/artifacts/{path}": tuple(
            Known(path_parameters=job | {"path": path}, headers=headers)
            for path in ARTIFACTS
            for headers in ({}, part)
        ),
    }


def _of_others(own: Belongings) -> dict[str, tuple[Known, ...]]:
    webhook = Known(path_parameters={"webhook_id": own.webhook_id})
    quota = {"max_active_jobs": 5, "gpu_hours": 2.5}
    return {
        "POST /webhooks": (Known(body={"url": RECEIVER, "events": ["job.failed"]}),),
        "POST /webhooks/{webhook_id}/test": (webhook,),
        "DELETE /webhooks/{webhook_id}": (webhook,),
        "GET /audit": (Known(), Known(query={"cursor": MAX_INTEGER})),
        "POST /tokens": (Known(body={"owner": "another", "role": "viewer", "expires_in_days": 1}),),
        "DELETE /tokens/{token_id}": (Known(path_parameters={"token_id": own.spare_token_id}),),
        "GET /quotas/{owner}": (Known(path_parameters={"owner": own.owner}),),
        "PUT /quotas/{owner}": (Known(path_parameters={"owner": "another"}, body=quota),),
    }


def _progress_event(number: int) -> Any:
    event = AttemptEvent(number=number, at=now(), data=progress(STEPS[-1] + 1))
    return event.model_dump(mode="json")
