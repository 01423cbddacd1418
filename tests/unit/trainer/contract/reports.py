"""Reports as attempts write them."""

from typing import Any

from trainer.contract.checkpoint import DataDigests
from trainer.contract.model_spec import ModelSpec
from trainer.contract.published import ablations_of
from trainer.contract.report import (
    BestEpoch,
    CalibrationReport,
    DataFacts,
    EvaluatedNetwork,
    EvaluationReport,
    Result,
    TrainingReport,
    compare,
    notes_on,
)
from trainer.contract.spec import JobSpec

FACTS = DataFacts(
    source="folder",
    first_classes=("tench", "gold|fish", "<shark>", "ray", "cock"),
    num_classes=1000,
    has_ilsvrc_classes=True,
    num_training_images=1_281_167,
    num_validation_images=50_000,
    image_size=256,
    sha256=DataDigests(train="a" * 64, validation="b" * 64),
)
RESULTS = (
    Result(protocol="centre_crop", top1=0.575, top5=0.8, loss=1.9, num_samples=50_000),
    Result(protocol="ten_view", top1=0.593, top5=0.818, loss=1.8, num_samples=50_000),
)


def training_report(*, data: DataFacts = FACTS, **changes: Any) -> TrainingReport:
    """Return the report of the paper's run, had it gone as the paper says."""
    spec = JobSpec.model_validate(
        {"name": "x", "data": {"train": "t", "validation": "v"}, "model": {"lrn": False}}
    )
    fields: dict[str, Any] = {
        "job_id": "0123456789ab",
        "name": "the *paper*",
        "attempts": 2,
        "steps": 900_000,
        "epochs": 90.0,
        "protocol": "ten_view",
        "top1": 0.593,
        "top5": 0.818,
        "validation_loss": 1.8,
        "validation_samples": 50_000,
        "results": RESULTS,
        "best_epoch": BestEpoch(epoch=88.0, step=880_000, top1=0.576, top5=0.801),
        "images_per_second": 1000.0,
        "seconds": 100_000.0,
        "steps_redone": 7,
        "samples_presented": 115_305_030,
        "samples_skipped": 90,
        "checkpoints": ("attempts/0002/checkpoints/step-00900000",),
        "weights_sha256": "c" * 64,
        "data": data,
        "comparison": compare("1 CNN", 1, RESULTS, data),
        "ablations": ablations_of(spec),
        "notes": notes_on(data, 50_000, []),
    }
    return TrainingReport.model_validate({**fields, **changes})


def evaluation_report(num_networks: int = 7) -> EvaluationReport:
    """Return the report of an ensemble of which the last network is a CNN*."""
    networks = tuple(
        EvaluatedNetwork(
            checkpoint=f"/runs/{number}/attempts/0001/checkpoints/step-00900000",
            job_id=f"{number:012x}",
            step=900_000,
            weights_sha256="d" * 64,
            model=ModelSpec(sixth_conv=number == num_networks - 1),
            top1=0.593,
            top5=0.818,
            loss=1.8,
        )
        for number in range(num_networks)
    )
    result = Result(protocol="ten_view", top1=0.633, top5=0.846, loss=1.6, num_samples=50_000)
    return EvaluationReport(
        job_id="0123456789ab",
        name="seven",
        attempts=1,
        protocol="ten_view",
        top1=result.top1,
        top5=result.top5,
        validation_loss=result.loss,
        validation_samples=result.num_samples,
        networks=networks,
        images_per_second=100.0,
        seconds=500.0,
        data=FACTS,
        comparison=compare(f"{num_networks} CNNs*", num_networks, (result,), FACTS),
        notes=notes_on(FACTS, result.num_samples, []),
    )


def calibration_report() -> CalibrationReport:
    """Return the report of a calibration on four pairs of GPUs."""
    return CalibrationReport(
        job_id="0123456789ab",
        name="calibration of the *paper*",
        attempts=1,
        images_per_second=12_800.0,
        seconds=10.0,
        steps=1000,
        warm_up_steps=20,
        images=128_000,
        replicas=4,
        accelerator="gpu",
        data_wait_ratio=0.25,
        phase_seconds={"backward": 0.005, "data_wait": 0.0025, "all_reduce": 0.0025},
    )
