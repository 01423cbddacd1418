"""The lock files: hashed, free of registry addresses, and installed by one version of uv."""

import re
from pathlib import Path

import pytest

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


def test_uv_has_one_version() -> None:
    found = {
        version
        for file in ("Makefile", "pyproject.toml", "deploy/install-lock", "deploy/locks/all.txt")
        for version in re.findall(
            r"\b(?:uv==|UV_VERSION := )(\d[\d.]+)", (REPOSITORY / file).read_text()
        )
    }
    assert len(found) == 1
