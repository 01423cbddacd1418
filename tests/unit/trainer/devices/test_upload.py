import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.devices.upload import stage, upload

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_on_the_cpu_nothing_is_copied() -> None:
    array = np.arange(6.0)
    assert upload(array, CPU).data_ptr() == stage(array, CPU).data_ptr() == array.ctypes.data


def test_for_a_gpu_the_array_may_be_written_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    array = np.arange(6.0)
    staged = stage(array, GPU)
    array[:] = 0
    assert staged.tolist() == [0, 1, 2, 3, 4, 5]
