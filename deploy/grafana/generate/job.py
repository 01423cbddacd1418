"""The Job dashboard: how one job learns, how fast, and what of it is safe."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.generate import colours
from deploy.grafana.generate.alerts import MAX_CHECKPOINT_AGE_S, MAX_DATA_STALL
from deploy.grafana.generate.colours import ORANGE, RED
from deploy.grafana.generate.dashboard import Section, dashboard, job_picker
from deploy.grafana.generate.links import (
    DATA,
    FLEET,
    PAGE_OF_JOB,
    to_dashboard,
    to_page,
)
from deploy.grafana.generate.panels import Panel, Query, bar, series, stat
from deploy.grafana.generate.rules import DATA_STALL, STEP_BUCKETS, unsaved

WORK_AT_RISK = (
    "Since the last checkpoint, or since the attempt trains: what a crash would cost; none while "
    "it does not train."
)
SAMPLES = 'ray_alexnet_train_samples_total{job_id="$job"}'
PHASES = 'ray_alexnet_train_phase_seconds_total{job_id="$job"}'
# A node's agent tells of its GPUs and of the replicas on it at one address.
ON_ITS_NODES = f"and on (instance) {SAMPLES}"
ITS_NODES = "Of the GPUs of the nodes that it trains on; empty where it trains on none."


def job(service_url: str) -> Dashboard:
    """Return it."""
    return dashboard(
        "alexnet-job",
        "AlexNet: Job",
        "One job while it lives. Its whole history, by step, is on its page.",
        links=[
            to_dashboard("Fleet", FLEET),
            to_dashboard("Data", DATA),
            to_page("Page of the job", PAGE_OF_JOB),
        ],
        service_url=service_url,
        picker=job_picker(many=False),
        head=_head(),
        sections=[
            Section("Learning", _learning()),
            Section("Speed", _speed()),
            Section("Checkpoints", _checkpoints()),
            Section("GPUs", _gpus()),
        ],
    )


def _its(metric: str, *labels: str) -> str:
    """Return the job's own, once however many control planes tell of it."""
    return f'max by ({", ".join(("job_id", *labels))}) ({metric}{{job_id="$job"}})'


def _error(k: int) -> str:
    return f'max by (job_id) (alexnet_eval_error_ratio{{job_id="$job", k="{k}"}})'


def _head() -> list[Panel]:
    return [
        bar(
            "Progress",
            "Steps done of those planned.",
            f"{_its('alexnet_train_step')} / {_its('alexnet_train_planned_steps')}",
            width=4,
        ),
        stat(
            "Time left",
            "To the end at the present rate; none while it does not train, or before it is known.",
            _its("alexnet_train_eta_seconds"),
            unit=units.Seconds,
            width=4,
        ),
        stat(
            "Epoch",
            "Passes over the training set, with fraction.",
            _its("alexnet_train_epoch"),
            unit=units.Short,
            width=3,
            decimals=2,
        ),
        stat(
            "Loss",
            "Mean cross-entropy of late, in nats; ln of the number of classes is chance.",
            _its("alexnet_train_loss"),
            unit=units.Short,
            width=3,
            decimals=3,
        ),
        stat(
            "Top-1 error",
            "Share of the validation set not right at the first guess, at the last evaluation.",
            _error(1),
            unit=units.PercentUnit,
            width=3,
            none="not yet",
            decimals=1,
        ),
        stat(
            "Images/s",
            "Over all replicas; none while it does not train.",
            _its("alexnet_train_images_per_second"),
            unit=units.Short,
            width=3,
        ),
        stat(
            "Unsaved work",
            WORK_AT_RISK,
            unsaved('job_id="$job"'),
            unit=units.Seconds,
            width=4,
            none="none",
            bounds={MAX_CHECKPOINT_AGE_S / 2: ORANGE, MAX_CHECKPOINT_AGE_S: RED},
        ),
    ]


def _learning() -> list[Panel]:
    return [
        series(
            "Loss",
            "Mean cross-entropy of the samples since the last report, in nats.",
            Query(_its("alexnet_train_loss"), "training"),
            unit=units.Short,
        ),
        series(
            "Validation error",
            "Share of the validation set not right within one and within five guesses.",
            Query(_error(1), "top-1"),
            Query(_error(5), "top-5"),
            unit=units.PercentUnit,
            colours=colours.OF_ERRORS,
        ),
        series(
            "Learning rate",
            "ε; a step down is a drop that the schedule made.",
            Query(_its("alexnet_train_learning_rate"), "ε"),
            unit=units.ScientificNotation,
            logarithmic=True,
        ),
    ]


def _speed() -> list[Panel]:
    rate = f"sum by (replica) (rate({SAMPLES}[$__rate_interval]))"
    by_phase = f"sum by (phase) (rate({PHASES}[$__rate_interval]))"
    buckets = f'{STEP_BUCKETS}{{job_id="$job"}}'
    return [
        series(
            "Images/s by replica",
            "Each replica's own rate, as it counts them: all go as fast as the slowest.",
            Query(rate, "replica {{replica}}"),
            unit=units.Short,
            stacked=True,
        ),
        series(
            "Time of a step",
            "Over five minutes: the median of all replicas, and each replica's p95.",
            Query(f"histogram_quantile(0.5, sum by (le) ({buckets}))", "p50"),
            Query(
                f"histogram_quantile(0.95, sum by (replica, le) ({buckets}))",
                "p95 of replica {{replica}}",
            ),
            unit=units.Seconds,
        ),
        series(
            "Waiting for data",
            "Share of each replica's time, over five minutes.",
            Query(f'{DATA_STALL}{{job_id="$job"}}', "replica {{replica}}"),
            unit=units.PercentUnit,
            bound=(MAX_DATA_STALL, RED),
            share=True,
        ),
        series(
            "Time by phase, all replicas",
            "What the replicas' hosts spend their time on: shares of the whole.",
            Query(f"{by_phase} / ignoring (phase) group_left sum({by_phase})", "{{phase}}"),
            unit=units.PercentUnit,
            width=12,
            colours=colours.OF_PHASE,
            stacked=True,
            share=True,
        ),
        series(
            "A step of rank 0, by phase",
            "Mean seconds of a step, as rank 0 reports them to the service.",
            Query(_its("alexnet_train_phase_seconds", "phase"), "{{phase}}"),
            unit=units.Seconds,
            width=12,
            colours=colours.OF_PHASE,
            stacked=True,
        ),
    ]


def _checkpoints() -> list[Panel]:
    def saving(series_of: str) -> str:
        # The series says nothing of its job, but its process does.
        name = f"ray_alexnet_checkpoint_save_seconds_{series_of}"
        return f"(increase({name}[1h]) and on (WorkerId) {SAMPLES})"

    return [
        series(
            "Unsaved work",
            WORK_AT_RISK,
            Query(unsaved('job_id="$job"'), "unsaved"),
            unit=units.Seconds,
            bound=(MAX_CHECKPOINT_AGE_S, RED),
        ),
        series(
            "Time to save one",
            "Beside training, within the hour before each moment.",
            Query(f"sum({saving('sum')}) / (sum({saving('count')}) > 0)", "mean"),
            Query(f"histogram_quantile(0.95, sum by (le) ({saving('bucket')})) >= 0", "p95"),
            unit=units.Seconds,
            colours=colours.OF_QUANTILES,
        ),
        series(
            "Size",
            "Of the last checkpoint.",
            Query(_its("alexnet_checkpoint_size_bytes"), "bytes"),
            unit=units.BytesIEC,
        ),
    ]


def _gpus() -> list[Panel]:
    gpu = "{{ip}}, GPU {{GpuIndex}}"

    def by_gpu(metric: str) -> str:
        return f"max by (ip, GpuIndex) ({metric} {ON_ITS_NODES})"

    return [
        series(
            "GPU busy",
            f"Share of time in which it computes. {ITS_NODES}",
            Query(f"{by_gpu('ray_node_gpus_utilization')} / 100", gpu),
            unit=units.PercentUnit,
            share=True,
        ),
        series(
            "GPU memory",
            f"That is used. {ITS_NODES}",
            Query(by_gpu("ray_node_gram_used"), gpu),
            unit=units.Mebibytes,
        ),
        series(
            "GPU power",
            f"That it draws. {ITS_NODES}",
            Query(f"{by_gpu('ray_node_gpu_power_milliwatts')} / 1000", gpu),
            unit=units.Watt,
        ),
    ]
