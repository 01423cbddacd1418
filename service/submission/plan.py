"""What is foreseen of a job, from its spec and what was seen of data, history and cluster. Pure."""

from collections.abc import Sequence

from data_shards.manifest import Manifest
from service.scheduling.placement import Node
from service.submission.duration import with_evaluations
from service.submission.memory import compare_memory
from service.submission.speed import Nearest
from service.views.plans import (
    CheckedShards,
    MemoryPart,
    Plan,
    PlannedDevice,
    PlannedNetwork,
    PlannedSpeed,
    PlannedStart,
)
from trainer.contract.description import Description, DeviceMemory, describe
from trainer.contract.events import Evaluated
from trainer.contract.spec import JobSpec
from trainer.contract.timetable import Timetable


def make_plan(
    spec: JobSpec,
    manifests: tuple[Manifest, Manifest],
    *,
    shards: Sequence[CheckedShards],
    nearest: Nearest | None,
    start: PlannedStart,
    nodes: Sequence[Node] | None = None,
    timed: Sequence[Evaluated] = (),
    timed_in: str | None = None,
    unseen: str = "",
) -> Plan:
    """Return the plan of an admitted spec; `manifests` are those of training and validation.

    `nodes`: of the cluster; `timed`: evaluations of the job `timed_in`, None: the `nearest`, the
    newest first; `unseen`: why the cluster is not known, so that `nearest` was not looked for.
    """
    train, validation = manifests
    trains = spec.kind != "evaluate"
    num_samples = train.num_samples if trains else validation.num_samples
    steps_per_epoch = -(-num_samples // spec.optim.global_batch_size)
    steps = steps_per_epoch
    if trains:
        steps = Timetable.of(spec, steps_per_epoch=steps_per_epoch).planned_steps
    epochs = steps / steps_per_epoch
    num_images = epochs * num_samples
    speed = _speed(spec, nearest, num_images=num_images, unseen=unseen)
    if spec.kind == "train":
        speed = with_evaluations(
            speed,
            spec,
            times=Timetable.of(spec, steps_per_epoch=steps_per_epoch),
            num_images=num_images,
            num_validation=validation.num_samples,
            timed=timed,
            timed_in=timed_in,
        )
    network = _network(describe(spec)) if trains else None
    if network is not None:
        network = compare_memory(network, spec, nodes, unseen=unseen)
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        num_samples=num_samples,
        network=network,
        shards=tuple(shards),
        speed=speed,
        start=start,
    )


def _network(described: Description) -> PlannedNetwork:
    return PlannedNetwork(
        parameters=described.parameters,
        multiply_adds_per_image=described.multiply_adds,
        exchanged_bytes_per_image=described.exchanged_bytes_per_image,
        micro_batch_size=described.micro_batch_size,
        devices=tuple(
            _device(number, memory, described) for number, memory in enumerate(described.devices)
        ),
    )


def _device(number: int, memory: DeviceMemory, described: Description) -> PlannedDevice:
    micro = described.micro_batch_size
    parameters = f"{memory.velocity_bytes // 4:,} parameters"
    copies = "" if described.precision == "fp32" else " + 2 bytes of their bf16 copies"
    per_image = memory.activations_bytes_per_image
    return PlannedDevice(
        number=number,
        parts=(
            MemoryPart(
                name="weights",
                size_bytes=memory.weights_bytes,
                formula=f"{parameters} × (4 bytes{copies})",
                basis="counted",
            ),
            MemoryPart(
                name="velocity",
                size_bytes=memory.velocity_bytes,
                formula=f"{parameters} × 4 bytes",
                basis="counted",
            ),
            MemoryPart(
                name="gradients",
                size_bytes=memory.gradients_bytes,
                formula=f"{parameters} × 4 bytes",
                basis="assumed",
            ),
            MemoryPart(
                name="activations",
                size_bytes=micro * per_image,
                formula=f"{micro:,} images at once × {per_image:,} bytes that autograd keeps",
                basis="assumed",
            ),
        ),
        total_bytes=memory.total_bytes,
    )


def _speed(
    spec: JobSpec, nearest: Nearest | None, *, num_images: float, unseen: str
) -> PlannedSpeed:
    if spec.kind == "evaluate":
        reason = "not foreseen of an evaluation: it depends on its networks and views"
    elif spec.kind == "calibrate":
        seconds = spec.calibration.seconds
        reason = f"what it is to measure: a warm-up of up to {seconds:g} s, then as long again"
    elif unseen:
        reason = f"without the cluster it is not known which jobs are like this one ({unseen})"
    elif nearest is None:
        reason = (
            "no finished job is like this one in network, batch, replicas, precision and "
            "accelerator; `alexnet plan --calibrate`, or the same submitted with kind = calibrate, "
            "measures some steps on the cluster"
        )
    else:
        rate = nearest.job.images_per_second
        what = "calibration" if nearest.job.spec.kind == "calibrate" else "job"
        differs = f", which differs in {', '.join(nearest.differs)}" if nearest.differs else ""
        return PlannedSpeed(
            images_per_second=rate,
            duration_s=num_images / rate,
            like_job=nearest.job.id,
            basis=f"measured in {what} {nearest.job.id}{differs}",
        )
    return PlannedSpeed(images_per_second=None, duration_s=None, like_job=None, basis=reason)
