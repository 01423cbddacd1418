import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.devices import machine

CPU = torch.device("cpu")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def settings_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `settle` sets is the process's; the number of threads is put back for every test."""
    monkeypatch.setenv(WORKSPACE, "")
    deterministic: Any = torch.utils.deterministic
    enabled = torch.are_deterministic_algorithms_enabled()
    fill = deterministic.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    tf32 = torch.backends.cudnn.allow_tf32
    yield
    torch.use_deterministic_algorithms(enabled)
    deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What malloc is told, instead of telling it."""
    told: list[tuple[int, int]] = []

    class Libc:
        def mallopt(self, parameter: int, value: int) -> int:
            told.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Libc())
    return told


def test_a_settled_process_is_deterministic_and_exact(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WORKSPACE)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    machine.settle([CPU, CPU], num_threads=2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert os.environ[WORKSPACE] == ":4096:8"
    # Freed memory is neither mapped apart nor given back.
    assert calls == [(-4, 0), (-1, 2**31 - 1)]


def test_settling_on_the_cpu_does_not_import_torchs_compiler() -> None:
    code = (
        "import sys, torch; from trainer.devices.machine import settle\n"
        "settle([torch.device('cpu')], num_threads=1)\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "sys.exit('torch._inductor' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_workspace_that_was_chosen_is_kept(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    machine.settle([CPU, CPU], num_threads=1)
    assert os.environ[WORKSPACE] == ":16:8"


def test_on_a_gpu_the_first_towers_is_the_current_one(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    devices = [torch.device("cuda", 2), torch.device("cuda", 3)]
    machine.settle(devices, num_threads=1)
    assert chosen == [devices[0]]
    # Activations lie on the GPU: malloc is left as it is.
    assert calls == []


def test_a_malloc_that_takes_no_settings_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    machine.keep_freed_memory()


def test_numerics_name_each_kind_of_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {0: "NVIDIA H100", 1: "NVIDIA H100", 2: "NVIDIA L4"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    first, second, third = (torch.device("cuda", index) for index in names)
    assert machine.numerics([first, second])["device"] == "NVIDIA H100"
    assert machine.numerics([first, third])["device"] == "NVIDIA H100, NVIDIA L4"
    assert machine.numerics([CPU, CPU])["device"] == "cpu"


def test_numerics_say_what_the_process_computes_with() -> None:
    torch.set_num_threads(2)
    numerics = machine.numerics([CPU, CPU])
    assert numerics["torch threads"] == "2"
    assert numerics["torch"] == torch.__version__
    assert numerics["CPU capability"] == torch.backends.cpu.get_cpu_capability()


X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
cache size\t: 1024 KB
flags\t\t: fpu avx2 avx512_bf16

processor\t: 1
"""
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\nCPU revision\t: 0\n"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # Clouds hide the model's name, but not its number.
        (X86, "model name AMD EPYC, cpu family 25, model 17"),
        (ARM, "CPU implementer 0x41, CPU part 0xd4f"),
        ("", platform.machine()),
        (None, platform.machine()),
    ],
)
def test_numerics_name_the_kind_of_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str | None, expected: str
) -> None:
    cpu_info = tmp_path / "cpuinfo"
    if told is not None:
        cpu_info.write_text(told)
    monkeypatch.setattr(machine, "_CPU_INFO", cpu_info)
    assert machine.numerics([CPU, CPU])["processor"] == expected
