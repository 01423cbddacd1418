from pathlib import Path

import pytest


@pytest.fixture
def run_root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for job_id in ("a", "other"):
        (root / job_id / "attempts" / "1").mkdir(parents=True)
        (root / job_id / "attempts" / "1" / "order.json").write_text("{}")
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
