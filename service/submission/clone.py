"""`clone` in a request: an earlier job's spec, and what differs from it."""

from collections.abc import Callable, Mapping
from typing import Any

from service.jobs.records import JobRecord
from service.problems import FieldError, SpecRefusedError
from service.store.errors import JobNotFoundError, UnreadableJobError


def expand_clone(
    request: Mapping[str, Any], find: Callable[[str], JobRecord]
) -> tuple[dict[str, Any], str | None]:
    """Return the request with the earlier job's spec in place of `clone`, and that job's id.

    What the request says is a merge patch (RFC 7396): null takes a field back to its default. A
    clone of a private job is private unless the request says otherwise. `find` raises
    JobNotFoundError also where the caller is not told of the job. Raises SpecRefusedError.
    """
    changes = dict(request)
    if "clone" not in changes:
        return changes, None
    job_id = changes.pop("clone")
    if "preset" in changes:
        raise _refused("preset", "an earlier job's spec is whole; leave preset or clone out")
    # Letters and digits: of all else a database may refuse to be asked.
    if not isinstance(job_id, str) or not job_id.isalnum():
        raise _refused("clone", "name a job by its id")
    try:
        job = find(job_id)
    except (JobNotFoundError, UnreadableJobError) as error:
        raise _refused("clone", str(error)) from error
    earlier = job.spec.model_dump(mode="json")
    return {"private": job.private, **merge_patch(earlier, changes)}, job.id


def merge_patch(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a merge patch over a document; a union of another kind is replaced whole."""
    merged = dict(base)
    for key, value in patch.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            same_kind = isinstance(below, Mapping) and _is_same_kind(below, value)
            merged[key] = merge_patch(below if same_kind and below else {}, value)
        else:
            merged[key] = value
    return merged


def _is_same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def _refused(field: str, message: str) -> SpecRefusedError:
    return SpecRefusedError([FieldError(field=field, message=message)])
