"""A control plane that dies where a test says, by SIGKILL of itself: `python -m ... serve`.

A failpoint lies in the file that FAULTS_FAILPOINT names. Whoever dies of it removes it first, so
that the next process lives.
"""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from service.cluster.ray_jobs import RayJobs
from service.store.store import Store
from service.terminal.cli import main

FAILPOINT_VARIABLE = "FAULTS_FAILPOINT"

STORE_CALLS = ("submit", "begin_attempt", "note_submitted", "take_report", "apply")
RAY_CALLS = ("submit",)


@dataclass(frozen=True)
class Failpoint:
    """Where to die."""

    place: str
    """"Store" or "RayJobs"."""
    call: str
    moment: str
    """"before" the call, "within" it, at its commit, or "after" it."""

    def __str__(self) -> str:
        """Say it, for people."""
        return f"{self.moment} {self.place}.{self.call}"

    def arm(self, file: Path) -> None:
        """Have the process that looks there die of it."""
        aside = file.with_suffix(".aside")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(file)


FAILPOINTS = [
    *(
        Failpoint("Store", call, moment)
        for call in STORE_CALLS
        for moment in ("before", "within", "after")
    ),
    *(Failpoint("RayJobs", call, moment) for call in RAY_CALLS for moment in ("before", "after")),
]


class _Mortality:
    """Dies at the failpoint that lies in the file, if one does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at_commit = False

    def patch(self) -> None:
        for place, calls in ((Store, STORE_CALLS), (RayJobs, RAY_CALLS)):
            for call in calls:
                setattr(place, call, self._mortal(place.__name__, call, getattr(place, call)))
        event.listen(Engine, "commit", self._on_commit)

    def _mortal(self, place: str, call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def mortal(*given: Any, **options: Any) -> Any:
            self._pass(Failpoint(place, call, "before"))
            self._at_commit = self._armed() == Failpoint(place, call, "within")
            answer = original(*given, **options)
            if isinstance(answer, Future) and self._armed() is not None:
                wait([answer])
            self._at_commit = False
            self._pass(Failpoint(place, call, "after"))
            return answer

        return mortal

    def _armed(self) -> Failpoint | None:
        try:
            return Failpoint(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    def _pass(self, point: Failpoint) -> None:
        if self._armed() == point:
            self._die()

    def _on_commit(self, _connection: Connection) -> None:
        if self._at_commit:
            self._die()

    def _die(self) -> None:
        self._file.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def die_where_told() -> None:
    """Be a control plane with failpoints."""
    _Mortality(Path(os.environ[FAILPOINT_VARIABLE])).patch()
    main()


if __name__ == "__main__":
    die_where_told()
