"""The order of a plan's epochs."""

from collections.abc import Sequence

from data_shards.feeding.plan import ReaderPlan
from data_shards.order import EpochOrder, epoch_order, sequential_order


def order_of_epoch(plan: ReaderPlan, shard_sizes: Sequence[int], epoch: int) -> EpochOrder:
    """Return the order of one epoch; `shard_sizes` are sample counts in the manifest's order."""
    if plan.ordered:
        return sequential_order(sum(shard_sizes))
    return epoch_order(
        shard_sizes,
        seed=plan.seed,
        epoch=epoch,
        num_streams=plan.num_streams,
        window=plan.window,
    )
