import hashlib

import pytest

from trainer.contract import ilsvrc


def test_other_classes_are_not_taken_for_its_own() -> None:
    assert not ilsvrc.has_its_classes([None] * 1000)
    assert not ilsvrc.has_its_classes([f"n{number:08d}" for number in range(1000)])
    assert not ilsvrc.has_its_classes([])


def test_its_classes_are_known_in_any_order_and_by_nothing_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ilsvrc, "_SYNSETS_SHA256", hashlib.sha256(b"n01\nn02\nn03").hexdigest())
    assert ilsvrc.has_its_classes(["n03", "n01", "n02"])
    assert not ilsvrc.has_its_classes(["n03", "n01"])
    assert not ilsvrc.has_its_classes(["n03", "n01", "n02", "n02"])
