"""The lock files: hashed, free of registry addresses, and installed by one version of uv."""

import re
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from service.ui.data_program import NEEDED

REPOSITORY = Path(__file__).resolve().parents[3]
LOCKS = sorted((REPOSITORY / "deploy/locks").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_pinned_and_hashed_and_no_address_is_named(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for entry in text.replace("\\\n", "").splitlines():
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)


def test_control_plane_does_without_torch() -> None:
    assert "\ntorch==" not in (REPOSITORY / "deploy/locks/control-plane.txt").read_text()


def test_the_control_plane_has_what_draws_what_its_page_of_data_shows() -> None:
    lock = (REPOSITORY / "deploy/locks/control-plane.txt").read_text()
    missing = [name for name in _distributions(NEEDED) if f"\n{name}==" not in f"\n{lock}"]
    assert not missing


def _distributions(modules: Sequence[str]) -> set[str]:
    found = packages_distributions()
    return {name.lower() for module in modules for name in found[module]}


def test_uv_has_one_version() -> None:
    found = {
        version
        for file in ("Makefile", "pyproject.toml", "deploy/install-lock", "deploy/locks/all.txt")
        for version in re.findall(
            r"\b(?:uv==|UV_VERSION := )(\d[\d.]+)", (REPOSITORY / file).read_text()
        )
    }
    assert len(found) == 1
