"""The cluster and the queue as tables for the terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from service.terminal.printable import printable
from service.views.cluster import ClusterView


def cluster_tables(seen: ClusterView) -> Group:
    """One row a node, then one row a job that waits."""
    nodes = Table(box=None, pad_edge=False)
    for heading in ("NODE", "FREE CPU", "CPU", "FREE GPU", "GPU", "HELD BY"):
        nodes.add_column(heading, overflow="fold")
    for node in seen.nodes:
        nodes.add_row(
            Text(node.id[:12]),
            f"{node.free_cpus:g}",
            f"{node.num_cpus:g}",
            f"{node.free_gpus:g}",
            f"{node.num_gpus:g}",
            Text(", ".join(one.holder for one in node.held)),
        )
    queue = Table(box=None, pad_edge=False)
    for heading in ("PLACE", "JOB", "PRIORITY", "WHY IT WAITS"):
        queue.add_column(heading, overflow="fold")
    for job in seen.queue:
        queue.add_row(
            str(job.place),
            job.job_id or "(private)",
            f"{job.priority} ({job.effective_priority:.1f})",
            Text(printable(job.message or "")),
        )
    head = nodes if seen.trouble is None else Text(seen.trouble, style="red")
    waiting = Text(f"\n{seen.num_waiting} waiting")
    return Group(head, waiting, *([queue] if seen.queue else []))
