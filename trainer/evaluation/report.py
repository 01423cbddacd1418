"""Writing report.json and report.md, the last thing of a job that succeeds."""

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from trainer.attempt.ledger import count_committed
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import WEIGHTS_NAME
from trainer.contract.checkpoint_folder import list_folders, read_manifest
from trainer.contract.durable import write_whole
from trainer.contract.events import AttemptEvent, CountsByReason, Evaluated
from trainer.contract.ilsvrc import has_its_classes
from trainer.contract.lineage import spans
from trainer.contract.published import ablations_of
from trainer.contract.report import (
    BestEpoch,
    DataFacts,
    EvaluatedNetwork,
    EvaluationReport,
    Report,
    Result,
    TrainingReport,
    compare,
    notes_on,
    notes_on_ensemble,
    notes_on_skipped,
)
from trainer.contract.report_text import network_name, to_markdown
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import Protocol
from trainer.evaluation.evaluate import Evaluation
from trainer.evaluation.members import Loaded
from trainer.evaluation.validation_set import Manifests

_NUM_NAMED_CLASSES = 5


def write_training_report(
    run: RunDirectory,
    order: AttemptOrder,
    evaluations: Sequence[tuple[Protocol, Evaluation]],
    *,
    manifests: Manifests,
    steps: int,
    steps_per_epoch: int,
    validation_skipped: CountsByReason,
    images_per_second: float,
    seconds: float,
) -> TrainingReport:
    """Gather the result from the run directory, write it there, and return it.

    `evaluations` are of the final weights; the last is by the protocol of the spec. What they left
    out of the validation set, `validation_skipped`, is noted; the other counts are of training.
    """
    folders = list_folders(run)
    last = read_manifest(folders[0])
    counts = count_committed(run.path)
    results = tuple(_result(protocol, evaluation) for protocol, evaluation in evaluations)
    final = results[-1]
    data = facts_of(manifests)
    report = TrainingReport(
        job_id=order.job_id,
        name=order.spec.name,
        started_from=last.started_from,
        attempts=run.newest_attempt(),
        steps=steps,
        epochs=steps / steps_per_epoch,
        protocol=final.protocol,
        top1=final.top1,
        top5=final.top5,
        validation_loss=final.loss,
        validation_samples=final.num_samples,
        results=results,
        best_epoch=best_epoch(run),
        images_per_second=images_per_second,
        seconds=seconds,
        steps_redone=counts.steps_redone,
        samples_presented=counts.samples_presented,
        samples_skipped=counts.samples_skipped,
        skipped_by_reason=counts.skipped_by_reason,
        checkpoints=tuple(str(folder.relative_to(run.path)) for folder in folders),
        weights_sha256=last.files[WEIGHTS_NAME].sha256,
        data=data,
        comparison=compare(f"1 {network_name(order.spec.model)}", 1, results, data),
        ablations=ablations_of(order.spec),
        notes=(
            *notes_on_skipped(validation_skipped),
            *notes_on(data, final.num_samples, [order.spec.model]),
        ),
    )
    write_report(run, report)
    return report


def write_evaluation_report(
    run: RunDirectory,
    order: AttemptOrder,
    together: Evaluation,
    networks: Sequence[tuple[Loaded, Evaluation]],
    *,
    manifests: Manifests,
    skipped_by_reason: CountsByReason,
    images_per_second: float,
    seconds: float,
) -> EvaluationReport:
    """Write what networks came to together and each alone, and return it."""
    result = _result(order.spec.evaluation.protocol, together)
    data = facts_of(manifests)
    evaluated = tuple(_network(loaded, alone) for loaded, alone in networks)
    report = EvaluationReport(
        job_id=order.job_id,
        name=order.spec.name,
        attempts=run.newest_attempt(),
        protocol=result.protocol,
        top1=result.top1,
        top5=result.top5,
        validation_loss=result.loss,
        validation_samples=result.num_samples,
        networks=evaluated,
        skipped_by_reason=skipped_by_reason,
        images_per_second=images_per_second,
        seconds=seconds,
        data=data,
        comparison=compare(_ensemble_name(evaluated), len(evaluated), (result,), data),
        notes=(
            *notes_on_skipped(skipped_by_reason),
            *notes_on_ensemble([one.weights_sha256 for one in evaluated]),
            *notes_on(data, result.num_samples, [one.model for one in evaluated]),
        ),
    )
    write_report(run, report)
    return report


def facts_of(manifests: Manifests) -> DataFacts:
    """Return what the manifests tell of the data."""
    train, validation = manifests.train, manifests.validation
    return DataFacts(
        source=validation.packing.source,
        first_classes=tuple(entry.name for entry in train.classes[:_NUM_NAMED_CLASSES]),
        num_classes=len(train.classes),
        has_ilsvrc_classes=has_its_classes(entry.synset for entry in train.classes),
        num_training_images=train.num_samples,
        num_validation_images=validation.num_samples,
        image_size=validation.image_size,
        sha256=manifests.sha256(),
    )


def best_epoch(run: RunDirectory) -> BestEpoch | None:
    """Return the best evaluation of the lineage by the centre crop; of equals the latest."""
    best: Evaluated | None = None
    for span in spans(run):
        for event in _evaluations(span.attempt):
            # An evaluation is of the weights after its step: of those that the span trained.
            if span.covers(event.step - 1) and (best is None or event.top1 >= best.top1):
                best = event
    if best is None:
        return None
    return BestEpoch(epoch=best.epoch, step=best.step, top1=best.top1, top5=best.top5)


def _evaluations(attempt: AttemptDirectory) -> Iterator[Evaluated]:
    if not attempt.events.exists():
        return
    with attempt.events.open("rb") as lines:
        for line in lines:
            try:
                event = AttemptEvent.model_validate_json(line).data
            except ValidationError:
                # A process that was killed may leave half a line.
                continue
            if isinstance(event, Evaluated) and event.protocol == "centre_crop":
                yield event


def _result(protocol: Protocol, evaluation: Evaluation) -> Result:
    return Result(
        protocol=protocol,
        top1=evaluation.top1,
        top5=evaluation.top5,
        loss=evaluation.loss,
        num_samples=evaluation.num_samples,
    )


def _network(loaded: Loaded, alone: Evaluation) -> EvaluatedNetwork:
    manifest = loaded.checkpoint.manifest
    return EvaluatedNetwork(
        checkpoint=str(loaded.checkpoint.folder),
        job_id=manifest.job_id,
        step=manifest.step,
        weights_sha256=manifest.files[WEIGHTS_NAME].sha256,
        model=loaded.model,
        top1=alone.top1,
        top5=alone.top5,
        loss=alone.loss,
    )


def _ensemble_name(networks: Sequence[EvaluatedNetwork]) -> str:
    """Return what Table 2 would call it: 5 CNNs; 7 CNNs* where one of them or more is a CNN*."""
    starred = any(network.model.sixth_conv for network in networks)
    plural = "" if len(networks) == 1 else "s"
    return f"{len(networks)} CNN{plural}{'*' if starred else ''}"


def write_report(run: RunDirectory, report: Report) -> None:
    """Write a report for programs and for people."""
    # The JSON last: where it is, both are.
    write_whole(run.report_markdown, to_markdown(report).encode())
    write_whole(run.report, report.model_dump_json(indent=1).encode())
