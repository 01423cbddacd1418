import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from data_shards.__main__ import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def test_a_step_is_drawn_and_told(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "batch.png"
    asked = {"seed": 3, "epoch": 2, "step": 4, "streams": 2, "window": 2, "batch": 8}
    asked |= {"crop_size": 24}
    options = [
        word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    done = run(packed, out, *options, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert {name: document[name] for name in asked} == asked
    told: dict[str, object] = {"num_shown": 5, "num_images": 5, "image_size": 32, "colour": 0.1}
    told |= {"recipe": "paper", "random_crop": True, "mirror": True}
    assert told.items() <= document.items()
    with Image.open(out) as image:
        assert image.width > 1000
    assert "5 of 5 images of step 4" in run(packed, out, *options).stdout.replace("\n", " ")


def test_what_cannot_be_drawn_is_told_in_a_sentence(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = run(packed, tmp_path / "batch.png", "--crop-size", 224)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "a crop of 224 pixels does not fit images of 32" in done.stderr
    assert "must end in .png" in run(packed, tmp_path / "batch.jpg").stderr
    assert not list(tmp_path.iterdir())


def test_what_is_not_said_fits_the_set(packed: Path, tmp_path: Path) -> None:
    document = json.loads(run(packed, tmp_path / "batch.png", "--json").stdout)
    assert (document["crop_size"], document["num_shown"], document["num_images"]) == (32, 32, 37)


def test_a_job_may_leave_out_parts_of_the_augmentation(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "batch.png"
    options = ("--batch", 8, "--crop-size", 24)
    left_out = ("--recipe", "source2012", "--centre-crop", "--no-mirror")
    document = json.loads(run(packed, out, *options, *left_out, "--json").stdout)
    told = {"recipe": "source2012", "random_crop": False, "mirror": False}
    assert told.items() <= document.items()
    without = out.read_bytes()
    run(packed, out, *options)
    assert out.read_bytes() != without
