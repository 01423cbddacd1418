"""The nodes, on the Fleet dashboard: what Ray tells of them."""

from grafana_foundation_sdk.models import units

from deploy.grafana.generate.alerts import MAX_DISK_RATIO, RUN_ROOT_FULL
from deploy.grafana.generate.colours import RED
from deploy.grafana.generate.panels import Panel, Query, series


def nodes() -> list[Panel]:
    """Show how much of each node is used."""
    free = "ray_object_store_available_memory"
    used = "ray_object_store_used_memory"
    gpu_memory = "sum by (ip) (ray_node_gram_used)"
    reserved = 'sum by (Name) (ray_resources{Name=~"CPU|GPU", State="USED"})'
    # A node that was restarted has series of both sessions for a moment: the greater one is taken.
    return [
        series(
            "CPU",
            "Share of a node's CPUs that is busy.",
            Query("max by (ip) (ray_node_cpu_utilization) / 100", "{{ip}}"),
            unit=units.PercentUnit,
            width=6,
            share=True,
        ),
        series(
            "Memory",
            "Share of a node's memory that is used; at 95 % Ray ends workers.",
            Query("max by (ip) (ray_node_mem_used / ray_node_mem_total)", "{{ip}}"),
            unit=units.PercentUnit,
            width=6,
            bound=(0.95, RED),
            share=True,
        ),
        series(
            "Disk",
            "Share of a node's root disk that is used.",
            Query("max by (ip) (ray_node_disk_utilization_percentage) / 100", "{{ip}}"),
            unit=units.PercentUnit,
            width=6,
            bound=(MAX_DISK_RATIO, RED),
            share=True,
        ),
        series(
            "GPU memory",
            "Share of the memory of a node's GPUs that is used; empty where no node has any.",
            Query(
                f"{gpu_memory} / ({gpu_memory} + sum by (ip) (ray_node_gram_available))", "{{ip}}"
            ),
            unit=units.PercentUnit,
            width=6,
            share=True,
        ),
        series(
            "Devices that are held",
            "Share of all CPUs and GPUs that attempts have reserved of Ray.",
            Query(
                f'{reserved} / (sum by (Name) (ray_resources{{Name=~"CPU|GPU"}}) > 0)', "{{Name}}"
            ),
            unit=units.PercentUnit,
            width=6,
            share=True,
        ),
        series(
            "Ray's object store",
            "Share that is used. Batches do not go through it: it stays nearly empty.",
            Query(
                f"max by (NodeAddress) ({used} / ({used} + {free}))",
                "{{NodeAddress}}",
            ),
            unit=units.PercentUnit,
            width=6,
            share=True,
        ),
        series(
            "Network",
            "Bytes a second of a node: gradients between nodes, shards from object stores.",
            Query("max by (ip) (ray_node_network_receive_speed)", "{{ip}} in"),
            Query("max by (ip) (ray_node_network_send_speed)", "{{ip}} out"),
            unit=units.BytesPerSecondIEC,
            width=6,
        ),
        series(
            "Disk of the run root",
            "Share that is used of the disk on which checkpoints, logs and reports lie, as the "
            "service sees it.",
            Query(RUN_ROOT_FULL, "used"),
            unit=units.PercentUnit,
            width=6,
            bound=(MAX_DISK_RATIO, RED),
            share=True,
        ),
    ]
