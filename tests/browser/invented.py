"""A service whose jobs nobody trained, to look at what is seldom seen."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.access.caller import Role
from service.access.tokens import NewToken
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.scheduling.room import Cluster
from service.settings import Settings
from tests.browser.invented_jobs import (
    FAILURES,
    LONG_NAME,
    LONG_OWNER,
    write_compared,
    write_failed,
    write_paper,
    write_queue,
    write_retrying,
)
from tests.unit.service.conftest import free_port, make_spec, now, serving
from tests.unit.service.guarded import add_token
from trainer.contract.attempt import Reason

Views = Mapping[str, tuple[str, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Invented:
    """Where it is served, and what there is to see."""

    plane: ControlPlane
    url: str
    token: str
    """Of an admin."""
    long_token: str
    """Of one whose name is long."""
    views: Views
    """Path of each, and what is to be read there."""

    def path_of(self, view: str) -> str:
        return self.views[view][0]

    def told_in(self, view: str) -> Sequence[str]:
        return self.views[view][1]

    def new_job(self, name: str) -> JobRecord:
        """Submit a job, which waits."""
        job_id = name.replace(" ", "-")
        return self.plane.store.submit(job_id, make_spec(name=name), now())

    def new_token(self) -> NewToken:
        """Return another admin's token."""
        return add_token(self.plane, "another", Role.ADMIN)


@contextmanager
def inventing(folder: Path) -> Iterator[Invented]:
    """Serve it; its loop does not run, so that jobs stay as they were written."""
    settings = Settings(
        state_dir=folder / "state",
        data_roots=(str(folder),),
        ray_address="http://127.0.0.1:9",
        port=free_port(),
    )
    with ExitStack() as opened:
        plane = ControlPlane(settings, token=None)
        opened.callback(plane.stop)
        plane.try_to_lead()
        cluster, views = _written(plane)
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(plane, "cluster", lambda: cluster)
        url = opened.enter_context(serving(plane))
        token, long_token = (
            str(add_token(plane, owner, Role.ADMIN)) for owner in ("ann", LONG_OWNER)
        )
        yield Invented(plane=plane, url=url, token=token, long_token=long_token, views=views)


def _written(plane: ControlPlane) -> tuple[Cluster, Views]:
    """Write the jobs; return the cluster they wait for, and what there is to see."""
    store, run_root = plane.store, plane.settings.run_root
    cluster = write_queue(store, plane.settings.state_dir)
    write_paper(store, run_root)
    write_failed(store, run_root)
    write_retrying(store, run_root)
    compared = [write_compared(store, number) for number in range(8)]
    return cluster, {
        "jobs": ("/ui/", (LONG_NAME, LONG_OWNER, "Failed", "Retrying")),
        "paper": ("/ui/jobs/paper", ("What conv1 has learned", "tench", "1 CNN")),
        "failed": ("/ui/jobs/failed", (FAILURES[Reason.BAD_DATA], FAILURES[Reason.LOST_NODE])),
        "retrying": ("/ui/jobs/retrying", (FAILURES[Reason.OUT_OF_MEMORY],)),
        "compare": (f"/ui/compare?{'&'.join(f'job={one}' for one in compared)}", (LONG_NAME,)),
        "queue": ("/ui/cluster", ("0 of 4", "waits-3", "GPU")),
        "clone": ("/ui/submit?clone=failed", ()),
    }
