"""The paper's network at its own size takes real steps on photographs."""

import json
import math
import tarfile
import time
from pathlib import Path

import pytest

from tests.acceptance.product import ledger_lines, run
from tests.integration.trainer.conftest import train

PHOTOGRAPHS = Path(__file__).parents[3].parent / "shared" / "data" / "imagenet-125.tar"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not PHOTOGRAPHS.is_file(), reason=f"no photographs: {PHOTOGRAPHS} is absent"
    ),
]

NUM_STEPS = 3


def test_the_paper_preset_takes_three_steps_at_224_pixels(tmp_path: Path) -> None:
    with tarfile.open(PHOTOGRAPHS) as archive:
        archive.extractall(tmp_path / "images", filter="data")
    run(
        *("data_shards", "pack", tmp_path / "images" / "imagenet-125", tmp_path / "shards"),
        *("--split", "train", "--size", 256, "--processes", 1),
    )
    manifest = str(tmp_path / "shards" / "manifest.json")
    job = tmp_path / "job.json"
    job.write_text(
        json.dumps(
            {
                "preset": "paper",
                "name": "full size",
                "data": {"train": manifest, "validation": manifest},
                # The batch is the paper's 128: 125 photographs and three places without one.
                "optim": {"max_steps": NUM_STEPS},
                "scale": {"cpus_per_replica": 2},
                "checkpoint": {"keep_last": 1, "keep_best": False},
            }
        )
    )
    begun = time.monotonic()
    done = train(job, tmp_path / "run")
    assert done.returncode == 0, done.stderr + done.stdout
    losses = [line["loss"] for line in ledger_lines(tmp_path / "run/attempts/0001")]
    print(f"{NUM_STEPS} steps of the full-size network: {time.monotonic() - begun:.0f} s, {losses}")
    assert len(losses) == NUM_STEPS
    # At first nothing is known of 1000 classes. fc7's 4096 units, half of them dropped, begin near
    # their bias of 1, so that logits have a std of .01·√2048 ≈ ½, which adds half its square.
    assert losses[0] == pytest.approx(math.log(1000) + 0.5**2 / 2, abs=0.1)
    assert all(math.isfinite(loss) for loss in losses)
