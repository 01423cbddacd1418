"""Which published results a job's errors stand beside, and why none do."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from data_shards.manifest import ManifestError
from service.jobs.records import JobRecord
from service.submission.manifests import StoreBusyError, read_manifest
from trainer.contract.ilsvrc import has_its_classes
from trainer.contract.published import ComparedResult, compared
from trainer.contract.report import CalibrationReport, Report, note_on_classes
from trainer.contract.spec import JobSpec

logger = logging.getLogger(__name__)

_NUM_CLASSES = 1000
_UNKNOWN = (
    "Whether these data have the classes of ILSVRC-2012 is not known, as their manifest cannot be "
    "read from here: the published results are left out."
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Rows to draw, or why there are none."""

    rows: Sequence[ComparedResult] = ()
    note: str = ""


def published_beside(job: JobRecord, report: Report | None) -> Published:
    """Return the results to draw beside a job's; reads the manifest where nothing else tells."""
    data = None if report is None or isinstance(report, CalibrationReport) else report.data
    num_classes = job.spec.model.num_classes
    if data is not None:
        return _published(job.spec, is_ilsvrc=data.has_ilsvrc_classes, num_classes=data.num_classes)
    if num_classes != _NUM_CLASSES:
        return _published(job.spec, is_ilsvrc=False, num_classes=num_classes)
    try:
        is_ilsvrc = _has_its_classes(job.spec.data.train)
    except (ManifestError, StoreBusyError) as error:
        logger.info("the page of job %s shows no published results: %s", job.id, error)
        return Published(note=_UNKNOWN)
    return _published(job.spec, is_ilsvrc=is_ilsvrc, num_classes=num_classes)


def _published(spec: JobSpec, *, is_ilsvrc: bool, num_classes: int) -> Published:
    """Choose the rows of one network like the spec's. Pure."""
    if not is_ilsvrc:
        return Published(note=note_on_classes(num_classes))
    names = {"1 CNN*"} if spec.model.sixth_conv else {"1 CNN", "Caffe's AlexNet"}
    return Published(rows=[row for row in compared() if row.network in names])


# Of a set that is packed anew, the classes are the same.
@lru_cache(maxsize=64)
def _has_its_classes(location: str) -> bool:
    return has_its_classes(entry.synset for entry in read_manifest(location).classes)
