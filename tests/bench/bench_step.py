"""How fast a training step of the full-size network is, beside what others would write.

    python tests/bench/bench_step.py [--batch 64] [--rounds 7] [--device cpu]

The variants take turns in one process, so that a busy machine slows all of them; a ratio is the
median over rounds of neighbouring measurements. Peak memory is measured in a process each.

    ours            bf16, channels_last: what `precision: bf16` trains
    no LRN          the same without LRN, `model.lrn: false`
    torch LRN       the same network as public code has it: fp32, nn.LocalResponseNorm, SGD
    torchvision     torchvision's AlexNet (another network, without LRN) in bf16, compiled on a GPU
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from data_shards.feeding.reader import Batch
from data_shards.manifest import RgbPca
from trainer.attempt.setting import Votes
from trainer.contract.layers import layers
from trainer.contract.spec import JobSpec
from trainer.devices import machine
from trainer.devices.replicas import Replicas
from trainer.learning.preprocess import Colour, Preprocess
from trainer.learning.train_step import Pending, TrainStep
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise

SIZE, CROP, CLASSES = 256, 224, 1000
RATE = 1e-4  # small: weights must stay finite, what they learn does not matter
MATMUL_EDGE = 4096

Step = Callable[[], object]


def main() -> None:
    """Measure, print a table and one JSON line."""
    arguments = parse()
    device = torch.device(arguments.device)
    if device.type == "cuda":
        # One has a number when it is to be the current one.
        device = torch.device("cuda", device.index or 0)
    machine.settle((device, device), num_threads=len(os.sched_getaffinity(0)))
    # As torch has it unless told, and so public code in fp32; ours is bf16.
    torch.backends.cudnn.allow_tf32 = True
    if arguments.memory_of:
        print(peak_memory_bytes(VARIANTS[arguments.memory_of](device, arguments.batch), device))
        return
    steps = {name: make(device, arguments.batch) for name, make in VARIANTS.items()}
    seconds = take_turns(steps, device, arguments.rounds)
    bound = [
        flops_per_image() / rate
        for rate in measure_matmul(device, torch.bfloat16, arguments.rounds)
    ]
    images = {name: [arguments.batch / each for each in values] for name, values in seconds.items()}
    memory = {name: memory_in_a_process(name, arguments) for name in ("ours", "torch LRN")}
    result = {
        "ratio_to_torch_lrn_fp32": ratio(images["ours"], images["torch LRN"]),
        "ratio_to_no_lrn": ratio(images["ours"], images["no LRN"]),
        "ratio_to_torchvision": ratio(images["ours"], images["torchvision"]),
        "ratio_to_matmul_bound": ratio(images["ours"], [1 / each for each in bound]),
        "peak_memory_ratio_to_torch_lrn": round(memory["ours"] / memory["torch LRN"], 3),
        "images_per_second": round(statistics.median(images["ours"]), 1),
        "device": name_of(device),
    }
    show(images, memory, 1 / statistics.median(bound), phases(device, arguments.batch))
    print("BENCH", json.dumps(result))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory-of", choices=list(VARIANTS), help="print one's peak memory only")
    return parser.parse_args()


def spec_of(batch: int, *, lrn: bool) -> JobSpec:
    """Return the paper's job in bf16."""
    return JobSpec.model_validate(
        {
            "name": "bench",
            "data": {"train": "none", "validation": "none", "num_streams": 1},
            "model": {"lrn": lrn},
            "optim": {"global_batch_size": batch},
            "precision": "bf16",
        }
    )


def ours(device: torch.device, batch: int, *, lrn: bool = True) -> Step:
    """Return our whole step: from uint8 crops to updated weights."""
    step, made = train_step(device, batch, lrn=lrn), make_batch(batch)
    waiting: list[Pending] = []

    def take() -> None:
        pending = step(made, learning_rate=RATE, votes=Votes())
        waiting.append(pending)
        # As the loop does: on a GPU a loss is read when the next step is queued.
        if not pending.is_late or len(waiting) > 1:
            waiting.pop(0).result()

    return take


def train_step(device: torch.device, batch: int, *, lrn: bool = True) -> TrainStep:
    """Return the step that the trainer takes, on made-up statistics of the data."""
    spec = spec_of(batch, lrn=lrn)
    network = AlexNet(spec.model, (device, device))
    initialise(network, spec.model, seed=0)
    rule = UpdateRule(
        dict(network.named_parameters()),
        spec.optim,
        spec.model.recipe,
        network.working_copies(),
    )
    pca = RgbPca(eigenvalues=(9000, 700, 200), eigenvectors=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    mean_image = np.full((SIZE, SIZE, 3), 120, dtype=np.float32)
    prepare = Preprocess(
        mean_image,
        Colour(pca, spec.augment.colour_strength, spec.model.recipe),
        (device, device),
        torch.bfloat16,
    )
    return TrainStep(spec, network, rule, prepare, Replicas(device))


def make_batch(batch: int) -> Batch:
    """Return random crops, as the reader gives them."""
    random = np.random.default_rng(0)
    return Batch(
        step=0,
        epoch=0,
        images=random.integers(0, 256, (batch, CROP, CROP, 3), dtype=np.uint8),
        labels=random.integers(0, CLASSES, batch),
        real=np.ones(batch, dtype=bool),
        samples=np.arange(batch),
        offsets=random.integers(0, SIZE - CROP + 1, (batch, 2)),
        mirrored=random.integers(0, 2, batch).astype(bool),
        colour=random.normal(size=(batch, 3)).astype(np.float32),
        corrupt=(),
    )


def no_lrn(device: torch.device, batch: int) -> Step:
    """Return the same step of the network without LRN."""
    return ours(device, batch, lrn=False)


class PublicTower(nn.Module):
    """A tower as public code writes it; torch divides α by n, so that 5e-4 is the paper's 1e-4."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(
            *(nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 48, 11, stride=4), nn.ReLU(inplace=True)),
            *(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(48, 128, 5, padding=2), nn.ReLU(inplace=True)),
            *(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), nn.MaxPool2d(3, 2)),
        )
        self.middle = nn.Sequential(
            *(nn.Conv2d(256, 192, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(192, 128, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(3, 2), nn.Flatten()),
        )
        self.fc6 = nn.Sequential(nn.Linear(9216, 2048), nn.ReLU(inplace=True), nn.Dropout())
        self.fc7 = nn.Sequential(nn.Linear(4096, 2048), nn.ReLU(inplace=True), nn.Dropout())


class PublicAlexNet(nn.Module):
    """The paper's network in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = PublicTower(), PublicTower()
        self.fc8 = nn.Linear(4096, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n, 1000)."""
        towers = self.left, self.right
        x = torch.cat([tower.early(x) for tower in towers], dim=1)
        x = torch.cat([tower.middle(x) for tower in towers], dim=1)
        x = torch.cat([tower.fc6(x) for tower in towers], dim=1)
        x = torch.cat([tower.fc7(x) for tower in towers], dim=1)
        logits: Tensor = self.fc8(x)
        return logits


def torch_lrn(device: torch.device, batch: int) -> Step:
    """Return a step of public code, on images that are ready."""
    network = PublicAlexNet().to(device)
    images = torch.randn(batch, 3, CROP, CROP, device=device)
    return public_step(network, network, images)


def torchvision_alexnet(device: torch.device, batch: int) -> Step:
    """Return a step of torchvision's network in bf16, on images that are ready."""
    network = torchvision.models.alexnet(num_classes=CLASSES).to(device)
    network.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, CROP, CROP, device=device)
    images = images.to(memory_format=torch.channels_last)
    runs: Callable[[Tensor], Tensor] = torch.compile(network) if device.type == "cuda" else network

    def autocast(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return runs(x)

    return public_step(network, autocast, images)


def public_step(network: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor) -> Step:
    """Return forward, backward and an update by torch's SGD."""
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    labels = torch.randint(0, CLASSES, (len(images),), device=images.device)

    def step() -> None:
        # As it is unless told otherwise: on a GPU torch's LRN has no other gradient.
        torch.set_deterministic_debug_mode("default")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(F.cross_entropy(forward(images).float(), labels))
        optimiser.step()
        torch.set_deterministic_debug_mode("error")

    return step


VARIANTS: Mapping[str, Callable[[torch.device, int], Step]] = {
    "ours": ours,
    "no LRN": no_lrn,
    "torch LRN": torch_lrn,
    "torchvision": torchvision_alexnet,
}


def take_turns(
    steps: Mapping[str, Step], device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds a step of each takes, by round."""
    for step in steps.values():
        timed(step, device, times=2)
    num_steps = 2 if device.type == "cpu" else 50
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(timed(step, device, times=num_steps))
    return seconds


def timed(step: Step, device: torch.device, *, times: int) -> float:
    """Return the mean seconds of a call, with all that it started on the device."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(times):
        step()
    synchronise(device)
    return (time.perf_counter() - started) / times


def synchronise(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_matmul(device: torch.device, dtype: torch.dtype, rounds: int) -> list[float]:
    """Return operations a second of a large matrix product, by round."""
    a, b = (torch.randn(MATMUL_EDGE, MATMUL_EDGE, device=device).to(dtype) for _ in range(2))
    operations = 2 * MATMUL_EDGE**3
    timed(lambda: a @ b, device, times=2)
    return [operations / timed(lambda: a @ b, device, times=3) for _ in range(rounds)]


def flops_per_image() -> int:
    """Return the operations of forward and backward: 4.13 G at the paper's sizes."""
    table = layers(spec_of(1, lrn=True).model)
    # Each layer's output, its weights' gradient, its input's gradient; conv1 needs no last one.
    products = 3 * sum(layer.num_multiply_adds for layer in table) - table[0].num_multiply_adds
    return 2 * products


def memory_in_a_process(name: str, arguments: argparse.Namespace) -> int:
    """Return the peak memory of a process that takes steps of one variant alone, in bytes."""
    command = [sys.executable, __file__, "--memory-of", name]
    command += ["--batch", str(arguments.batch), "--device", arguments.device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def peak_memory_bytes(step: Step, device: torch.device) -> int:
    """Return the most that was ever held: of the GPU's memory, or of this process's."""
    timed(step, device, times=3)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def phases(device: torch.device, batch: int) -> dict[str, float]:
    """Return what share of our step each phase takes, each waited for."""
    step, made = train_step(device, batch), make_batch(batch)
    spent: dict[str, float] = {}

    def watch(owner: Any, method: str, phase: str) -> None:
        inner = getattr(owner, method)

        def outer(*args: Any, **kwargs: Any) -> Any:
            synchronise(device)
            started = time.perf_counter()
            result = inner(*args, **kwargs)
            synchronise(device)
            spent[phase] = spent.get(phase, 0.0) + time.perf_counter() - started
            return result

        setattr(owner, method, outer)

    run = lambda: step(made, learning_rate=RATE, votes=Votes())  # noqa: E731
    timed(run, device, times=2)
    watch(step, "_preprocess", "preprocess")
    watch(step._network, "forward", "forward")
    watch(torch.autograd, "backward", "backward")
    watch(step._rule, "step", "update")
    times = 5
    whole = timed(run, device, times=times) * times
    shares = {phase: value / whole for phase, value in spent.items()}
    return shares | {"rest": 1 - sum(shares.values())}


def ratio(of: list[float], to: list[float]) -> float:
    """Return the median over rounds."""
    return round(statistics.median(a / b for a, b in zip(of, to, strict=True)), 3)


def name_of(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0))
    return f"cpu, {cores} cores, {torch.backends.cpu.get_cpu_capability()}"


def show(
    images: Mapping[str, list[float]],
    memory: Mapping[str, int],
    bound: float,
    shares: Mapping[str, float],
) -> None:
    """Print the table and the phases."""
    table = Table(title="A training step of the full-size network", title_justify="left")
    for column in ("variant", "images/s", "slowest - fastest", "ours is", "peak memory"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    own = images["ours"]
    for name, rates in images.items():
        table.add_row(
            name,
            f"{statistics.median(rates):,.1f}",
            f"{min(rates):,.1f} - {max(rates):,.1f}",
            f"{ratio(own, rates):.2f} times",
            f"{memory[name] / 2**20:,.0f} MiB" if name in memory else "",
        )
    table.add_row(
        "matmul bound", f"{bound:,.1f}", "", f"{statistics.median(own) / bound:.2f} of it"
    )
    console = Console()
    console.print(table)
    console.print("Phases: " + ", ".join(f"{phase} {share:.0%}" for phase, share in shares.items()))


if __name__ == "__main__":
    main()
