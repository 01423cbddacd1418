from pathlib import Path

import pytest

from service.store.store import Store
from tests.unit.service.world import World


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return World(tmp_path, store)


@pytest.fixture
def run_root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for job_id in ("a", "other"):
        (root / job_id / "attempts" / "1").mkdir(parents=True)
        (root / job_id / "attempts" / "1" / "order.json").write_text("{}")
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
