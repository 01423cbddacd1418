from service.scheduling.placement import Demand, Node, accelerator_of, demand_of, has_gpus
from tests.unit.service.conftest import make_spec


def node(gpus: float = 0) -> Node:
    return Node(id="n", num_cpus=8, num_gpus=gpus)


def demand(replicas: int, cpus: int, gpus: int) -> Demand:
    return Demand(num_replicas=replicas, cpus_per_replica=cpus, gpus_per_replica=gpus)


def test_auto_is_gpu_where_there_are_any() -> None:
    spec = make_spec(scale={"replicas": 2, "cpus_per_replica": 3})
    assert accelerator_of(spec, gpus=has_gpus([node()])) == "cpu"
    assert accelerator_of(spec, gpus=has_gpus([node(), node(2)])) == "gpu"
    assert accelerator_of(make_spec(scale={"accelerator": "gpu"}), gpus=False) == "gpu"
    assert demand_of(spec, "gpu") == demand(2, 3, 2)
    assert demand_of(spec, "cpu") == demand(2, 3, 0)
