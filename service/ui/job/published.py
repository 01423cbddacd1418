"""Which published results a job's errors stand beside, and why none do."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from data_shards.manifest import ManifestError
from service.jobs.records import JobRecord
from service.submission.manifests import StoreBusyError, read_manifest
from trainer.contract.ilsvrc import has_its_classes
from trainer.contract.published import ComparedResult, results_like
from trainer.contract.report import CalibrationReport, Report, note_on_classes
from trainer.contract.spec import JobSpec

logger = logging.getLogger(__name__)

_NUM_CLASSES = 1000
# Each read of an object store that is away takes a slot that submissions need.
_AGAIN_S = 60.0
_MAX_LOCATIONS = 64


@dataclass(frozen=True, kw_only=True)
class Published:
    """Rows to draw, or why there are none; neither where it is not known."""

    rows: Sequence[ComparedResult] = ()
    note: str = ""


@dataclass(kw_only=True)
class Classes:
    """Whether sets have the classes of ILSVRC-2012, by the locations of their manifests."""

    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, bool | None]] = field(default_factory=dict)
    """When it was read, and what; None: it could not be."""
    _lock: Lock = field(default_factory=Lock)

    def known(self, location: str) -> bool | None:
        """Return what was read; None: it is not known."""
        return self._known.get(location, (0.0, None))[1]

    def read(self, location: str) -> bool | None:
        """Return the same, and read the manifest unless that failed a moment ago; blocks."""
        read_s, found = self._known.get(location, (None, None))
        is_due = read_s is None or self.clock() - read_s >= _AGAIN_S
        # Of a set that is packed anew, the classes are the same.
        if found is not None or not is_due:
            return found
        try:
            found = has_its_classes(entry.synset for entry in read_manifest(location).classes)
        except (ManifestError, StoreBusyError) as error:
            logger.info("published results are left out: %s", error)
        with self._lock:
            self._known.pop(location, None)
            while len(self._known) >= _MAX_LOCATIONS:
                del self._known[next(iter(self._known))]
            self._known[location] = self.clock(), found
        return found


_classes = Classes()


def published_beside(
    job: JobRecord, report: Report | None, *, may_read: bool = True, classes: Classes = _classes
) -> Published:
    """Return the results to draw beside a job's, by its report or else by its manifest.

    What may not read it goes by what was read of it before.
    """
    data = None if report is None or isinstance(report, CalibrationReport) else report.data
    num_classes = job.spec.model.num_classes
    if data is not None:
        return _published(job.spec, is_ilsvrc=data.has_ilsvrc_classes, num_classes=data.num_classes)
    if num_classes != _NUM_CLASSES:
        return _published(job.spec, is_ilsvrc=False, num_classes=num_classes)
    location = job.spec.data.train
    is_ilsvrc = classes.read(location) if may_read else classes.known(location)
    if is_ilsvrc is None:
        return Published()
    return _published(job.spec, is_ilsvrc=is_ilsvrc, num_classes=num_classes)


def _published(spec: JobSpec, *, is_ilsvrc: bool, num_classes: int) -> Published:
    """Choose the rows of one network like the spec's. Pure."""
    if not is_ilsvrc:
        return Published(note=note_on_classes(num_classes))
    return Published(rows=results_like(spec))
