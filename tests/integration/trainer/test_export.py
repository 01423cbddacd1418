"""A run's export, used as a stranger uses it: the file, onnxruntime, tarfile and Pillow."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from tests.integration.trainer.conftest import Shards, train, write_job
from trainer.contract.report import TrainingReport

pytestmark = pytest.mark.slow


def _samples(folder: Path) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    for tar in sorted(folder.glob("*.tar")):
        with tarfile.open(tar) as members:
            files = {}
            for member in members:
                opened = members.extractfile(member)
                assert opened is not None
                files[member.name] = opened.read()
        for name, content in files.items():
            if name.endswith(".jpg"):
                label = files[name.replace(".jpg", ".cls")]
                yield np.asarray(Image.open(io.BytesIO(content))), int(label)


def test_onnxruntime_repeats_the_top1_of_the_report(shards: Shards, tmp_path: Path) -> None:
    # The recipe with more operations, and a crop of 63 of the 72 pixels, whose margin is odd.
    model = {"width": 0.125, "recipe": "source2012", "input_size": 63}
    optim = {"global_batch_size": 16, "epochs": 2}
    job = write_job(
        tmp_path, shards, model=model, optim=optim, evaluation={"protocol": "centre_crop"}
    )
    done = train(job, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    report = TrainingReport.model_validate_json((tmp_path / "run" / "report.json").read_bytes())

    file = tmp_path / "alexnet.onnx"
    exported = subprocess.run(
        [
            *(sys.executable, "-m", "trainer", "export", str(tmp_path / "run")),
            *("--format", "onnx", "--output", str(file)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    assert f"step {report.steps}; checked:" in exported.stdout

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    size = int(about["input_size"])
    first = (int(about["image_size"]) - size) // 2
    images, labels = zip(*_samples(shards.validation.parent), strict=True)
    pixels = np.stack(images)[:, first : first + size, first : first + size]
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == labels) == pytest.approx(report.top1)
    assert report.top1 > 0.15
    assert json.loads(about["classes"])[labels[0]] == f"class-{labels[0]}"
