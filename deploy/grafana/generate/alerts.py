"""What somebody is to be told of; docs/monitoring.md has a section on each."""

from textwrap import dedent

from deploy.grafana.generate.links import DATA, FLEET, JOB
from deploy.grafana.generate.rules import DATA_STALL, ERROR_RATIO, QUEUE_P95, Alert, unsaved

# Assumed; the dashboards draw them as lines.
MAX_CHECKPOINT_AGE_S = 2 * 3600
MAX_DATA_STALL = 0.5
MAX_ERROR_RATIO = 0.05
MAX_QUEUE_S = 4 * 3600
MAX_DISK_RATIO = 0.9
MAX_RECONCILER_STEP_S = 120

RUN_ROOT_FULL = "max(1 - alexnet_run_root_free_bytes / alexnet_run_root_size_bytes)"
JOB_OF_ALERT = f"{JOB}?var-job={{{{ $labels.job_id }}}}"
# A series that only a job has which is training now.
TRAINING = "and on (job_id) alexnet_train_images_per_second"

ALERTS = (
    Alert(
        name="AlexnetServiceDown",
        expr='absent(up{job="control-plane"} == 1)',
        lasting="2m",
        severity="critical",
        summary="No control plane answers",
        description="Jobs that run go on, and keep what they have to report; none is accepted or "
        "begun. Look at the service's log and start it again.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetReconcilerStuck",
        expr=f"max(alexnet_reconciler_step_age_seconds) > {MAX_RECONCILER_STEP_S}",
        lasting="1m",
        severity="critical",
        summary="The reconciler has been at one job for {{ $value | humanizeDuration }}",
        description="No job is begun, paused or ended meanwhile. The service's log names the job; "
        "look whether the disk of its run directory answers.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetJobWithoutProgress",
        expr=f"max by (job_id) (changes(alexnet_train_step[10m])) == 0 {TRAINING}",
        lasting="5m",
        severity="critical",
        summary="Job {{ $labels.job_id }} runs and takes no step",
        description="For a quarter of an hour. See its events and its log: a long evaluation looks "
        "the same; an attempt that hangs is ended by itself, unless retry.hang_factor is null. "
        "Pause and resume it to go on from its last checkpoint in new processes.",
        dashboard=JOB_OF_ALERT,
    ),
    Alert(
        name="AlexnetCheckpointTooOld",
        expr=f"({unsaved()}) > {MAX_CHECKPOINT_AGE_S}",
        lasting="10m",
        severity="warning",
        summary="Job {{ $labels.job_id }} trains for {{ $value | humanizeDuration }} "
        "without a checkpoint",
        description="A crash would lose as much work. See in its events whether saving fails "
        "(a full disk); where an epoch takes longer, set checkpoint.interval_steps.",
        dashboard=JOB_OF_ALERT,
    ),
    Alert(
        name="AlexnetDataStall",
        expr=f"max by (job_id) ({DATA_STALL}) > {MAX_DATA_STALL}",
        lasting="10m",
        severity="warning",
        summary="A replica of job {{ $labels.job_id }} waits for data "
        "{{ $value | humanizePercentage }} of its time",
        description="Its device idles meanwhile. See on the Data dashboard which stage takes "
        "the time: decoding wants more CPUs a replica, fetching a larger shard cache or a nearer "
        "store.",
        dashboard=DATA,
    ),
    Alert(
        name="AlexnetApiErrors",
        expr=f"{ERROR_RATIO} > {MAX_ERROR_RATIO}",
        lasting="10m",
        severity="critical",
        summary="{{ $value | humanizePercentage }} of requests are answered with an error of ours",
        description="See which status on the Fleet dashboard, and the service's log: 503 is a "
        "store that does not answer or a standby that is written to, 507 a full disk, 500 a fault.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetQueueWait",
        expr=dedent(f"""\
            {QUEUE_P95} > {MAX_QUEUE_S}
            or
            max(alexnet_job_queue_age_seconds) > {MAX_QUEUE_S}
            """),
        lasting="15m",
        severity="warning",
        summary="A job waits for hours before it begins",
        description="GET /cluster says why each waits: too few devices, a quota, a drain that "
        "nobody ended. Add nodes, or lower the priority of what can wait.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetDiskNearlyFull",
        expr=f"max by (ip) (ray_node_disk_utilization_percentage) / 100 > {MAX_DISK_RATIO}",
        lasting="10m",
        severity="critical",
        summary="The disk of node {{ $labels.ip }} is {{ $value | humanizePercentage }} full",
        description="Checkpoints fail when it is full, and attempts with them. Delete jobs whose "
        "files nobody needs, keep fewer checkpoints, or shrink the shard cache.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetRunRootNearlyFull",
        expr=f"{RUN_ROOT_FULL} > {MAX_DISK_RATIO}",
        lasting="10m",
        severity="critical",
        summary="The disk of the run root is {{ $value | humanizePercentage }} full",
        description="Checkpoints of all jobs fail when it is full. Delete jobs whose files nobody "
        "needs, or keep fewer checkpoints.",
        dashboard=FLEET,
    ),
    Alert(
        name="AlexnetWebhookGivenUp",
        expr='sum(increase(alexnet_webhook_deliveries_total{outcome="given_up"}[1h])) > 0',
        lasting="1m",
        severity="warning",
        summary="A message to a webhook was given up after a day",
        description="`alexnet webhooks list` names the webhook and its last failure.",
        dashboard=FLEET,
    ),
)
