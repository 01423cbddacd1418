"""A run's curves as a file: its loss and its errors, with what is published of such networks.

So they can be looked at where there is no service, or one whose store was lost.
"""

import logging
from collections.abc import Iterator, Sequence

from data_shards.errors import DataError
from data_shards.storage.manifests import read_manifest
from trainer.contract.durable import write_whole
from trainer.contract.ilsvrc import has_its_classes
from trainer.contract.lineage import spans
from trainer.contract.pictures import CURVES_NAME
from trainer.contract.published import ComparedResult, results_like
from trainer.contract.report_text import PROTOCOLS
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.figure import Line, Panel, figure
from trainer.pictures.told import Spooled, Told, fewer, lineage_of

_log = logging.getLogger(__name__)

# As on white in the page.
_FIRST, _SECOND = "#3456d1", "#c2570c"
_DASHES = {"centre_crop": "7 4", "ten_view": "2 4"}
# More dots hide their line.
_MOST_MARKED = 100


class Curves:
    """Draws the curves of an attempt's run up to now, into the attempt's own folder."""

    def __init__(self, attempt: AttemptDirectory, spec: JobSpec) -> None:
        self._attempt = attempt
        self._spec = spec
        self._spooled: dict[int, Spooled] = {}
        self._published: Sequence[ComparedResult] | None = None
        self._has_logged = False

    def draw(self) -> None:
        """Draw them anew; what keeps it from that is logged once, and tried again."""
        if self._spec.kind != "train":
            return
        try:
            told = self._told()
            if not told.loss and not told.evaluations:
                return
            drawn = figure(f"{self._spec.name}: loss and errors", panels(told, self._rows()))
            self._attempt.pictures.mkdir(parents=True, exist_ok=True)
            write_whole(self._attempt.pictures / CURVES_NAME, drawn)
        except (OSError, ValueError) as error:
            if not self._has_logged:
                self._has_logged = True
                _log.warning("curves are not drawn, which harms nothing: %s", error)

    def _told(self) -> Told:
        numbers = range(1, self._attempt.number + 1)
        lineage = spans(RunDirectory(self._attempt.run), numbers)
        spooled = [
            self._spooled.setdefault(span.attempt.number, Spooled(span.attempt.events))
            for span in lineage
        ]
        for one in spooled:
            one.read_on()
        return lineage_of(lineage, spooled)

    def _rows(self) -> Sequence[ComparedResult]:
        """Return what is published of such networks on such data; none while that is not known."""
        if self._published is None:
            try:
                classes = read_manifest(self._spec.data.train).classes
            except (DataError, OSError):
                return ()
            is_like = has_its_classes(entry.synset for entry in classes)
            self._published = results_like(self._spec) if is_like else ()
        return self._published


def panels(told: Told, published: Sequence[ComparedResult]) -> list[Panel]:
    """Return what is to be drawn of what was told: pure."""
    # By another protocol it is measured at the end alone.
    validation = [(one.step, one.loss) for one in told.evaluations if one.protocol == "centre_crop"]
    is_marked = len(told.evaluations) <= _MOST_MARKED
    is_alone = len(told.loss) == 1
    lines = [
        Line(name="Training", points=fewer(told.loss), colour=_FIRST, is_marked=is_alone),
        Line(name="Validation", points=fewer(validation), colour=_SECOND, is_marked=is_marked),
    ]
    found = []
    if drawn := [line for line in lines if line.points]:
        found.append(Panel(title="Loss (nats)", lines=drawn))
    if told.evaluations:
        found.append(
            Panel(
                title="Top-1 and top-5 error; broken lines are published results"
                if published
                else "Top-1 and top-5 error",
                lines=[*_measured(told, is_marked=is_marked), *_lines(told, published)],
                is_share=True,
            )
        )
    return found


def _measured(told: Told, *, is_marked: bool) -> Iterator[Line]:
    for protocol, words in PROTOCOLS.items():
        measured = [one for one in told.evaluations if one.protocol == protocol]
        if not measured:
            continue
        for name, colour, points in (
            ("Top-1", _FIRST, [(one.step, 1 - one.top1) for one in measured]),
            ("Top-5", _SECOND, [(one.step, 1 - one.top5) for one in measured]),
        ):
            yield Line(
                name=f"{name}, {words}",
                points=fewer(points),
                colour=colour,
                is_marked=is_marked,
            )


def _lines(told: Told, published: Sequence[ComparedResult]) -> Iterator[Line]:
    stop = max(told.evaluations[-1].step, told.loss[-1][0] if told.loss else 0, 1)
    for row in published:
        for name, error, colour in (
            ("top-1", row.top1_error, _FIRST),
            ("top-5", row.top5_error, _SECOND),
        ):
            if error is not None:
                yield Line(
                    name=f"{row.network} ({row.source}), {PROTOCOLS[row.protocol]}, {name}",
                    points=[(0, error), (stop, error)],
                    colour=colour,
                    dash=_DASHES[row.protocol],
                )
