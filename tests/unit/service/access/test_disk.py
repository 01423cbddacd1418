"""What run directories take."""

from pathlib import Path

from service.access.disk import MEASURED_FOR_S, DiskMeter, folder_bytes


def test_every_file_counts_once_and_links_lead_nowhere(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    (run / "deep" / "er").mkdir(parents=True)
    (run / "one").write_bytes(b"x" * 1000)
    (run / "deep" / "er" / "two").write_bytes(b"y" * 200)
    (run / "deep" / "again").hardlink_to(run / "one")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"z" * 5000)
    (run / "folder").symlink_to(outside)
    (run / "file").symlink_to(outside / "large")
    link_bytes = len(str((run / "file").readlink()))
    assert folder_bytes(run) == 1200 + link_bytes
    assert folder_bytes(tmp_path / "gone") == 0


def test_a_run_directory_is_measured_once_a_minute(tmp_path: Path) -> None:
    now = [0.0]
    meter = DiskMeter(tmp_path, clock=lambda: now[0])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 10)
    assert meter.size_bytes(["a", "b"]) == 20
    (tmp_path / "a" / "file").write_bytes(b"x" * 30)
    assert meter.size_bytes(["a", "b"]) == 20
    now[0] = MEASURED_FOR_S
    assert meter.size_bytes(["a"]) == 30
    # What nobody asks for any more is forgotten.
    assert set(meter._measured) == {"a"}
