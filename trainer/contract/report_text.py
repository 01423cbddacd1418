"""report.md: a report for people, in Markdown. Made of the report alone."""

import re
from collections.abc import Iterable, Sequence

from trainer.contract.events import in_words
from trainer.contract.model_spec import ModelSpec
from trainer.contract.published import ComparedResult, PublishedAblation
from trainer.contract.report import (
    CalibrationReport,
    DataFacts,
    EvaluationReport,
    Report,
    TrainingReport,
)
from trainer.contract.spec import Protocol

PROTOCOLS: dict[Protocol, str] = {"centre_crop": "centre crop", "ten_view": "ten views"}

_TITLES = {"train": "Training", "evaluate": "Evaluation", "calibrate": "Calibration"}
_LONGEST_WORDS = 200
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(report: Report) -> str:
    """Return the report as GitHub's Markdown."""
    sections = [_summary(report)]
    match report:
        case CalibrationReport():
            sections += _calibration(report)
        case TrainingReport():
            sections += [*_comparison(report), *_training(report), *_ablations(report.ablations)]
            sections += _data(report.data)
        case EvaluationReport():
            sections += [*_comparison(report), *_networks(report), *_data(report.data)]
    return "\n\n".join(sections) + "\n"


def per_cent(share: float | None, digits: int = 1) -> str:
    """Return a share as the paper prints it; nothing where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def difference(share: float | None, precision: str = "measured") -> str:
    """Return what is added to an error, in percentage points."""
    if share is None:
        return ""
    sign = {"measured": "", "about": "about ", "more than": "more than "}[precision]
    return f"{sign}{100 * share:+.1f}"


def network_name(model: ModelSpec) -> str:
    """Return the paper's name of a network: CNN, or CNN* with its sixth convolution."""
    return "CNN*" if model.sixth_conv else "CNN"


def printable(text: str) -> str:
    """Return other people's words without what a terminal would obey, on one line and bounded."""
    told = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return told if len(told) <= _LONGEST_WORDS else f"{told[: _LONGEST_WORDS - 3]}..."


def headline(report: Report) -> str:
    """Return the result in a sentence."""
    if isinstance(report, CalibrationReport):
        return (
            f"{report.images_per_second:,.1f} images/s with {_counted(report.replicas, 'replica')} "
            f"on {report.accelerator}, {per_cent(report.data_wait_ratio, 0)} of the time spent "
            "waiting for data."
        )
    seen = f"{PROTOCOLS[report.protocol]}, {report.validation_samples:,} images"
    if isinstance(report, EvaluationReport):
        seen += f", {_counted(len(report.networks), 'network')}"
    return (
        f"Top-1 error {per_cent(1 - report.top1, 2)}, top-5 error {per_cent(1 - report.top5, 2)} "
        f"(accuracy {per_cent(report.top1, 2)} and {per_cent(report.top5, 2)}): {seen}."
    )


def training_facts(report: TrainingReport) -> list[tuple[str, str]]:
    """Return what is worth a line of how the network was trained."""
    facts = [
        ("steps", f"{report.steps:,} ({report.epochs:.2f} epochs)"),
        ("samples presented", f"{report.samples_presented:,}"),
        ("attempts", str(report.attempts)),
    ]
    if (origin := report.started_from) is not None:
        new = ", ".join(origin.new_layers) or "none"
        began = f"the weights of {printable(origin.job_id)} after {origin.step:,} steps"
        facts.append(("began with", f"{began}; new layers: {new}"))
    for result in report.results:
        accuracy = f"top-1 {per_cent(result.top1, 2)}, top-5 {per_cent(result.top5, 2)}"
        facts.append((f"accuracy, {PROTOCOLS[result.protocol]}", accuracy))
    if report.best_epoch is not None:
        best = report.best_epoch
        facts.append(
            ("best epoch", f"{best.epoch:.2f}: top-1 {per_cent(best.top1, 2)}, centre crop")
        )
    if report.samples_skipped:
        why = in_words(report.skipped_by_reason) or "unreadable"
        facts.append(("samples skipped", f"{report.samples_skipped:,} ({why})"))
    if report.steps_redone:
        facts.append(("steps trained again", f"{report.steps_redone:,}"))
    return facts


def calibration_facts(report: CalibrationReport) -> list[tuple[str, str]]:
    """Return what was measured, and where the time of a step went."""
    step_s = max(sum(report.phase_seconds.values()), 1e-9)
    return [
        ("steps", f"{report.steps:,} in {report.seconds:,.1f} s"),
        ("warm-up", f"{report.warm_up_steps:,} steps, which are left out"),
        ("images", f"{report.images:,}"),
        *(
            (
                phase.replace("_", " "),
                f"{1000 * seconds:,.1f} ms of a step, {per_cent(seconds / step_s, 0)}",
            )
            for phase, seconds in sorted(report.phase_seconds.items(), key=lambda pair: -pair[1])
        ),
    ]


def data_facts(data: DataFacts) -> list[tuple[str, str]]:
    """Return what was trained on and measured on."""
    names = ", ".join(map(printable, data.first_classes))
    more = ", ..." if data.num_classes > len(data.first_classes) else ""
    return [
        ("classes", f"{data.num_classes:,}: {names}{more}"),
        ("training images", f"{data.num_training_images:,}"),
        ("validation images", f"{data.num_validation_images:,} (source: {data.source})"),
        ("stored size", f"{data.image_size} pixels"),
    ]


def _summary(report: Report) -> str:
    what = _TITLES[report.kind]
    return f"# {what}: {_plain(report.name)} ({_plain(report.job_id)})\n\n{headline(report)}"


def _comparison(report: TrainingReport | EvaluationReport) -> list[str]:
    if not report.comparison:
        return []
    headings = ("network", "protocol", "measured on", "top-1 error", "top-5 error")
    rows = [_compared(row) for row in report.comparison]
    table = _table(
        (*headings, "top-1 accuracy", "top-5 accuracy", "source"), rows, right=(3, 4, 5, 6)
    )
    notes = [f"> {note}" for note in report.notes]
    return ["## Beside what is published", *notes, table]


def _compared(row: ComparedResult) -> Sequence[str]:
    errors = (row.top1_error, row.top5_error)
    return (
        row.network,
        PROTOCOLS[row.protocol],
        row.measured_on,
        *(per_cent(error) for error in errors),
        *(per_cent(None if error is None else 1 - error) for error in errors),
        row.source,
    )


def _calibration(report: CalibrationReport) -> list[str]:
    return ["## What was measured", _table(("", ""), _escaped(calibration_facts(report)))]


def _training(report: TrainingReport) -> list[str]:
    return ["## Training", _table(("", ""), _escaped(training_facts(report)))]


def _ablations(ablations: Sequence[PublishedAblation]) -> list[str]:
    if not ablations:
        return []
    rows = [
        (
            one.change,
            difference(one.top1_difference, one.precision),
            difference(one.top5_difference),
            one.source,
        )
        for one in ablations
    ]
    return [
        "## What is published of these changes",
        "Percentage points added to the error of the network without the change.",
        _table(("change", "top-1", "top-5", "source"), rows, right=(1, 2)),
    ]


def _networks(report: EvaluationReport) -> list[str]:
    rows = [
        (
            network_name(one.model),
            one.job_id,
            f"{one.step:,}",
            per_cent(1 - one.top1, 2),
            per_cent(1 - one.top5, 2),
            one.checkpoint,
        )
        for one in report.networks
    ]
    headings = ("network", "job", "step", "top-1 error", "top-5 error", "checkpoint")
    return ["## The networks, each alone", _table(headings, _escaped(rows), right=(2, 3, 4))]


def _data(data: DataFacts | None) -> list[str]:
    return [] if data is None else ["## Data", _table(("", ""), _escaped(data_facts(data)))]


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> str:
    rule = ["---:" if place in right else "---" for place in range(len(headings))]
    lines: list[Sequence[str]] = [headings, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[_plain(cell) for cell in row] for row in rows]


def _plain(text: str) -> str:
    """Escape what Markdown would read: names are other people's."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
