"""A control plane that dies where a test says, or whose store fails: `python -m ... serve`.

It dies by SIGKILL of itself. Failpoints lie in the file that FAULTS_FAILPOINT names, in the order
in which they are met. Whoever meets one removes it first, so that what follows goes well.
"""

import json
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from service.cluster.ray_jobs import RayJobs
from service.store.store import Store
from service.terminal.cli import main

FAILPOINT_VARIABLE = "FAULTS_FAILPOINT"

STORE_CALLS = ("submit", "begin_attempt", "note_submitted", "take_report", "apply", "write")
RAY_CALLS = ("submit",)
# Of the one thread that commits what `take_report` was given.
_REPORTS = "group-commit"


@dataclass(frozen=True)
class Failpoint:
    """Where to die, or where the store fails."""

    place: str
    """"Store" or "RayJobs"."""
    call: str
    """A method; "write make_room": the write of that function alone."""
    moment: str
    """"before" the call, "within" it, at its commit, or "after" it.

    Or what becomes of its commit while the process lives: "refused", or "unconfirmed", as where the
    connection breaks before the answer.
    """

    def __str__(self) -> str:
        """Say it, for people."""
        return f"{self.moment} {self.place}.{self.call}"


def arm(file: Path, *points: Failpoint) -> None:
    """Have the process that looks there meet them, one after another."""
    if not points:
        file.unlink(missing_ok=True)
        return
    aside = file.with_suffix(".aside")
    aside.write_text(json.dumps([asdict(point) for point in points]))
    aside.replace(file)


def armed(file: Path) -> list[Failpoint]:
    """Return those that nobody has met yet."""
    try:
        return [Failpoint(**point) for point in json.loads(file.read_text())]
    except FileNotFoundError:
        return []


FAILPOINTS = [
    *(
        Failpoint("Store", call, moment)
        for call in STORE_CALLS
        for moment in ("before", "within", "after")
    ),
    *(Failpoint("RayJobs", call, moment) for call in RAY_CALLS for moment in ("before", "after")),
]


class _Calls(threading.local):
    """Those of the store that this thread is in."""

    def __init__(self) -> None:
        self.names: list[str] = []


class _Mortality:
    """Meets the failpoints that lie in the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._calls = _Calls()

    def patch(self) -> None:
        for place, calls in ((Store, STORE_CALLS), (RayJobs, RAY_CALLS)):
            for call in calls:
                setattr(place, call, self._mortal(place.__name__, call, getattr(place, call)))
        event.listen(Engine, "commit", self._on_commit)

    def _mortal(self, place: str, call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def mortal(*given: Any, **options: Any) -> Any:
            names = [call, *(f"{call} {name}" for name in _functions(call, given))]
            self._pass(place, names, "before")
            self._calls.names += names
            try:
                answer = original(*given, **options)
            finally:
                del self._calls.names[-len(names) :]
            if isinstance(answer, Future) and self._armed() == Failpoint(place, call, "after"):
                wait([answer])
            self._pass(place, names, "after")
            return answer

        return mortal

    def _armed(self) -> Failpoint | None:
        return next(iter(armed(self._file)), None)

    def _remove(self) -> None:
        arm(self._file, *armed(self._file)[1:])

    def _pass(self, place: str, calls: list[str], moment: str) -> None:
        if self._armed() in [Failpoint(place, call, moment) for call in calls]:
            self._die()

    def _on_commit(self, connection: Connection) -> None:
        point = self._armed()
        if point is None or not self._is_of(point):
            return
        if point.moment == "within":
            self._die()
        self._remove()
        if point.moment == "unconfirmed":
            connection.connection.commit()
        raise OperationalError("COMMIT", None, ConnectionError(f"of a test: {point}"))

    def _is_of(self, point: Failpoint) -> bool:
        """Whether what this thread commits is of the failpoint's call."""
        if point.moment not in {"within", "refused", "unconfirmed"}:
            return False
        if point.call == "take_report":
            return threading.current_thread().name.startswith(_REPORTS)
        return point.call in self._calls.names

    def _die(self) -> None:
        self._remove()
        os.kill(os.getpid(), signal.SIGKILL)


def _functions(call: str, given: tuple[Any, ...]) -> tuple[str, ...]:
    """Return what the change that is given to `Store.write` calls."""
    return given[1].__code__.co_names if call == "write" else ()


def die_where_told() -> None:
    """Be a control plane with failpoints."""
    _Mortality(Path(os.environ[FAILPOINT_VARIABLE])).patch()
    main()


if __name__ == "__main__":
    die_where_told()
