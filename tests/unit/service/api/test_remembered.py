import threading

import anyio
import pytest

from service.api.remembered import Remembered


def test_many_who_ask_at_once_are_answered_by_one_reading() -> None:
    readings: list[int] = []
    all_ask = threading.Event()

    def read() -> int:
        assert all_ask.wait(30)
        readings.append(len(readings))
        return readings[-1]

    async def ask() -> list[int]:
        remembered = Remembered(read, for_s=60.0)
        told: list[int] = []

        async def one() -> None:
            told.append(await remembered.get())

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)
            # All but the first wait for it by then.
            await anyio.wait_all_tasks_blocked()
            all_ask.set()
        return told

    assert anyio.run(ask) == [0] * 50
    assert readings == [0]


def test_it_is_read_again_after_its_time() -> None:
    readings = iter(range(10))

    async def ask() -> list[int]:
        remembered = Remembered(lambda: next(readings), for_s=0.0)
        return [await remembered.get() for _ in range(3)]

    assert anyio.run(ask) == [0, 1, 2]


def test_an_error_is_told_to_everyone_and_read_for_once() -> None:
    readings: list[None] = []

    def fail() -> int:
        readings.append(None)
        raise OSError("away")

    async def ask() -> None:
        remembered = Remembered(fail, for_s=60.0)
        for _ in range(3):
            with pytest.raises(OSError, match="away"):
                await remembered.get()

    anyio.run(ask)
    assert len(readings) == 1
