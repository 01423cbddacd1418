from typing import Any

import pytest
from ray.util.accelerators import accelerators

from service.scheduling.placement import Node
from service.submission.memory import GPU_MEMORY_GB, compare_memory
from service.views.plans import PlannedDevice, PlannedNetwork
from tests.unit.service.conftest import make_spec

GB = 10**9


def compared(
    *totals_gb: float, nodes: list[Node] | None, unseen: str = "", **scale: Any
) -> tuple[PlannedDevice, ...]:
    network = PlannedNetwork(
        parameters=1,
        multiply_adds_per_image=1,
        exchanged_bytes_per_image=1,
        micro_batch_size=1,
        devices=tuple(
            PlannedDevice(number=number, parts=(), total_bytes=round(total * GB))
            for number, total in enumerate(totals_gb)
        ),
    )
    spec = make_spec(scale={"devices_per_replica": len(totals_gb)} | scale)
    return compare_memory(network, spec, nodes, unseen=unseen).devices


def with_gpus(gpu_type: str | None, *, gpus: float = 2.0) -> Node:
    return Node(id=str(gpu_type), num_cpus=4, num_gpus=gpus, gpu_type=gpu_type)


def host(memory_gb: float | None, *, cpus: float = 2.0) -> Node:
    memory_bytes = None if memory_gb is None else round(memory_gb * GB)
    return Node(id=f"{memory_gb}", num_cpus=cpus, num_gpus=0, memory_bytes=memory_bytes)


def test_gpus_have_the_names_that_ray_gives_them() -> None:
    assert GPU_MEMORY_GB.keys() <= {
        value for name, value in vars(accelerators).items() if name.startswith("NVIDIA")
    }


def test_each_device_is_compared_with_a_gpu_and_what_is_close_is_left_open() -> None:
    fits, close, too_large = (
        compared(total, nodes=[with_gpus("T4")])[0] for total in (10.0, 15.0, 16.1)
    )
    assert (fits.fits, fits.capacity_bytes) == (True, 16 * GB)
    assert fits.capacity_basis == "16 GB of T4, by its data sheet"
    assert close.fits is None
    assert "so close" in close.capacity_basis
    assert too_large.fits is False
    assert "lower optim.micro_batch_size" in too_large.capacity_basis
    first, second = compared(20.0, 10.0, nodes=[with_gpus("T4")])
    assert (first.fits, second.fits) == (False, True)


def test_what_fits_on_some_gpus_that_a_replica_may_be_given_is_left_open() -> None:
    nodes = [with_gpus("H100"), with_gpus("T4"), with_gpus("P4", gpus=1.0)]
    (one,) = compared(10.0, nodes=nodes)
    assert (one.fits, one.capacity_bytes) == (None, 8 * GB)
    assert "it does not fit P4, it may fit T4 or H100: Ray decides" in one.capacity_basis
    assert [compared(total, nodes=nodes)[0].fits for total in (5.0, 90.0)] == [True, False]
    # A pair is not on the node with one.
    assert [device.capacity_bytes for device in compared(10.0, 10.0, nodes=nodes)] == [16 * GB] * 2


@pytest.mark.parametrize(("gpu_type", "name"), [(None, "does not tell"), ("TPU", "TPU")])
def test_of_a_gpu_that_is_not_known_nothing_is_claimed(gpu_type: str | None, name: str) -> None:
    (one,) = compared(1.0, nodes=[with_gpus(gpu_type)])
    assert (one.fits, one.capacity_bytes) == (None, None)
    assert name in one.capacity_basis
    (beside,) = compared(1.0, nodes=[with_gpus(gpu_type), with_gpus("T4")])
    assert (beside.fits, beside.capacity_bytes) == (None, 16 * GB)
    (too_large,) = compared(20.0, nodes=[with_gpus(gpu_type), with_gpus("T4")])
    assert too_large.fits is None


def test_on_hosts_all_replicas_of_a_node_share_its_memory() -> None:
    both = compared(2.0, 1.0, nodes=[host(4.0)])
    assert [(one.fits, one.capacity_bytes) for one in both] == [(True, 4 * GB)] * 2
    both = compared(2.0, 1.0, nodes=[host(4.0)], replicas=2)
    assert [one.fits for one in both] == [False, False]
    assert "4.0 GB that Ray gives to processes on a node, where 2 replicas may lie" in (
        both[0].capacity_basis
    )
    # The node that is worst off is told; one on which no replica fits does not count.
    nodes = [host(100.0), host(4.0, cpus=1.0), host(1.0, cpus=0.0)]
    assert compared(2.0, 1.0, nodes=nodes)[0].capacity_bytes == 4 * GB


def test_it_does_not_fit_hosts_where_it_does_not_however_the_replicas_are_placed() -> None:
    apart = compared(3.0, nodes=[host(4.0), host(4.0, cpus=2.5)], replicas=2)
    assert apart[0].fits is None
    assert "it may fit where Ray places it otherwise" in apart[0].capacity_basis
    assert compared(3.0, nodes=[host(4.0), host(2.0)], replicas=2)[0].fits is False
    assert compared(3.0, nodes=[host(4.0), host(2.0)])[0].fits is None
    assert compared(5.0, nodes=[host(4.0), host(2.0)])[0].fits is False


def test_without_what_it_takes_to_know_it_is_said_why() -> None:
    def why(**options: Any) -> str:
        (one,) = compared(1.0, **options)
        assert (one.fits, one.capacity_bytes) == (None, None)
        return one.capacity_basis

    assert why(nodes=None, unseen="Ray is away") == "the cluster is not known (Ray is away)"
    assert "does not tell" in why(nodes=[host(None)])
    assert "no node" in why(nodes=[host(4.0)], cpus_per_replica=3)
    assert "no node" in why(nodes=[host(4.0)], accelerator="gpu")
