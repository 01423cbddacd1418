import io
import json

import numpy as np
import pytest
import simplejpeg
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner, Result

from data_shards.__main__ import app
from data_shards.commands.pack import count_taken, summary_of
from data_shards.manifest import load_manifest
from data_shards.packing.pack import PackReport
from data_shards.shards.sidecars import load_mean_image
from tests.packed_tars import samples_in


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_images_are_stored_as_they_came(image_folder, tmp_path):
    command = ["pack", image_folder, "--split", "train", "--processes", 1, "--size", 16]
    done = run(*command, tmp_path / "out", "--no-resize", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["num_samples"] == 37
    manifest = load_manifest(tmp_path / "out")
    assert not manifest.squared
    assert manifest.image_size == 16
    content = (tmp_path / "out" / "train-000000.tar").read_bytes()
    rows = samples_in(tmp_path / "out" / "train-000000.tar")
    stored = [content[row.offset : row.offset + row.size_bytes] for row in rows]
    sizes = {simplejpeg.decode_jpeg_header(each)[:2] for each in stored}
    assert len(sizes) > 10
    assert all(30 <= side < 60 for size in sizes for side in size)
    # The mean image is of their squares.
    assert run(*command, tmp_path / "squares", "--encoding", "raw").exit_code == 0
    of_squares = load_mean_image(tmp_path / "squares", load_manifest(tmp_path / "squares"))
    mean = load_mean_image(tmp_path / "out", manifest)
    assert mean.shape == (16, 16, 3)
    assert abs(mean - of_squares).mean() < 2
    again = run(*command, tmp_path / "out")
    assert again.exit_code == 1
    assert "squared False (asked: True)" in again.stderr


def test_a_jpeg_is_stored_byte_for_byte(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    original = simplejpeg.encode_jpeg(pixels, quality=77)
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "0.jpg").write_bytes(original)
    command = ["pack", tmp_path / "images", tmp_path / "out", "--split", "train", "--no-resize"]
    assert run(*command, "--processes", 1).exit_code == 0
    assert original in (tmp_path / "out" / "train-000000.tar").read_bytes()


def test_bare_pixels_of_any_shape_are_refused_with_the_reason(image_folder, tmp_path):
    command = ["pack", image_folder, tmp_path / "out", "--split", "train"]
    refused = run(*command, "--no-resize", "--encoding", "raw")
    assert refused.exit_code == 1
    assert "whose shape nothing would tell" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_report_tells_of_this_run_and_of_the_earlier_one(packed):
    report = PackReport(
        manifest=load_manifest(packed),
        num_tried=7,
        num_taken=30,
        shards_taken=3,
        seconds=2.0,
        num_packers=1,
        peak_memory_bytes=2,
        packer_peak_memory_bytes=3,
    )
    summary = summary_of(report)
    assert summary["num_samples"] == 37
    assert (summary["shards_of_earlier_run"], summary["images_of_earlier_run"]) == (3, 30)
    # Not of all 37.
    assert summary["images_per_second"] == summary["images_per_second_and_core"] == 3.5
    assert (summary["peak_memory_bytes"], summary["packer_peak_memory_bytes"]) == (2, 3)
    json.dumps(summary)
    present = summary_of(PackReport(manifest=report.manifest, already_packed=True))
    assert present.keys() == summary.keys()
    assert present["images_per_second"] is None


def test_what_was_found_done_is_no_speed():
    now = 0.0
    progress = Progress(
        console=Console(file=io.StringIO()), get_time=lambda: now, auto_refresh=False
    )
    bar = progress.add_task("Packing", total=2000)
    for _ in range(10):
        now += 1
        count_taken(progress, 100)
        progress.advance(bar, 5)
    (task,) = progress.tasks
    assert task.completed == 1050
    assert task.speed == pytest.approx(5)
    assert task.time_remaining == pytest.approx(950 / 5)


def test_what_a_run_needs_besides_goes_with_it(image_folder, tmp_path):
    command = ["pack", image_folder, tmp_path / "out", "--split", "train", "--processes", 1]
    assert run(*command, "--scratch", tmp_path / "scratch" / "new").exit_code == 0
    assert not list((tmp_path / "scratch" / "new").iterdir())
