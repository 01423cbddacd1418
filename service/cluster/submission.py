"""What Ray keeps of a driver that it was given: its name, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass

# Ray's metadata are strings by name, of everyone who submits.
_STORE, _JOB = "alexnet_store", "alexnet_job"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Of which job a submission is, and of which service's store."""

    store_id: str
    job_id: str

    def metadata(self) -> dict[str, str]:
        """Return it as Ray keeps it."""
        return {_STORE: self.store_id, _JOB: self.job_id}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, object] | None) -> "Origin | None":
        """Read it back; None: somebody else's submission, or one of release 0.1."""
        found = metadata or {}
        store_id, job_id = found.get(_STORE), found.get(_JOB)
        if not isinstance(store_id, str) or not isinstance(job_id, str):
            return None
        return cls(store_id=store_id, job_id=job_id)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A driver that Ray was given."""

    id: str
    origin: Origin | None

    def origin_in(self, store_id: str) -> Origin:
        """Return where it is from; of an earlier release, its name tells the job alone."""
        if self.origin is not None:
            return self.origin
        job_id, _, number = self.id.rpartition("-")
        return Origin(store_id=store_id, job_id=job_id if number.isdecimal() else "")


@dataclass(frozen=True, kw_only=True)
class LeftGroup:
    """A placement group of a driver that has ended."""

    id: str
    """In hexadecimal."""
    submission: Submission
