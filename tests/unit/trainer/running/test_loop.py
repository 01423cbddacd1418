"""What surrounds the loop; the loop itself is tested whole, in tests/integration/trainer."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.fence import Fence
from trainer.attempt.setting import Setting
from trainer.attempt.watchdog import LONG_S, Watchdog
from trainer.contract.order_file import read_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError
from trainer.running import loop as module

CPU = torch.device("cpu")


def test_a_failing_attempt_that_waits_for_its_last_checkpoint_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(factor=2, floor_s=1)
    found: list[str | None] = []

    class FailingLoop:
        def __init__(self, *_: object) -> None:
            self.checkpointer: AbstractContextManager[None] = self._writing()

        @contextmanager
        def _writing(self) -> Iterator[None]:
            try:
                yield
            finally:
                watchdog.look(1.0)
                found.extend(watchdog.look(1.0) for _ in range(int(LONG_S) - 1))

        def run(self) -> None:
            watchdog.note_step()
            watchdog.note_step()
            raise BadDataError("too many samples")

    monkeypatch.setattr(module, "Loop", FailingLoop)
    for name in ("Datasets", "Ledger"):
        monkeypatch.setattr(module, name, lambda *_: nullcontext())
    attempt = add_attempt(RunDirectory(tmp_path))
    setting = Setting(
        order=read_order(attempt),
        attempt=attempt,
        replicas=Replicas(CPU),
        devices=(CPU, CPU),
        pid=7,
        gpu_ids=(),
        report=lambda _: None,
        desired=lambda: Desired.RUN,
        disowned=lambda: False,
        fence=Fence(attempt, disowned=lambda: False),
        watchdog=watchdog,
    )
    with pytest.raises(BadDataError):
        module.train(setting)
    assert found
    assert set(found) == {None}
