"""Whether there is a GPU: what only hardware can show is tested where one is at hand."""

import pytest
import torch

GPU = torch.device("cuda", 0)


def skip_beside_real_gpus() -> None:
    """Leave a test on fake GPUs out: of a fake one torch asks the driver, and ends the process."""
    if torch.cuda.is_available():
        pytest.skip("fake GPUs are for machines without real ones")


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
