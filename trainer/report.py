"""Writing report.json, the last thing of a run that succeeds."""

from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import WEIGHTS_NAME
from trainer.contract.checkpoint_folder import list_folders, read_manifest
from trainer.contract.durable import write_whole
from trainer.contract.report import Report
from trainer.contract.run_directory import RunDirectory
from trainer.evaluate import Evaluation
from trainer.ledger import count_committed


def write_report(
    run: RunDirectory,
    order: AttemptOrder,
    evaluation: Evaluation,
    *,
    steps: int,
    steps_per_epoch: int,
    images_per_second: float,
    seconds: float,
) -> Report:
    """Gather the result from the run directory, write it there, and return it."""
    folders = list_folders(run)
    counts = count_committed(run.path)
    report = Report(
        job_id=order.job_id,
        name=order.spec.name,
        attempts=run.newest_attempt(),
        steps=steps,
        epochs=steps / steps_per_epoch,
        top1=evaluation.top1,
        top5=evaluation.top5,
        validation_loss=evaluation.loss,
        validation_samples=evaluation.num_samples,
        images_per_second=images_per_second,
        seconds=seconds,
        steps_redone=counts.steps_redone,
        samples_presented=counts.samples_presented,
        samples_skipped=counts.samples_skipped,
        checkpoints=tuple(str(folder.relative_to(run.path)) for folder in folders),
        weights_sha256=read_manifest(folders[0]).files[WEIGHTS_NAME].sha256,
    )
    write_whole(run.report, report.model_dump_json(indent=1).encode())
    return report
