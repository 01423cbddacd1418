"""The paper's network at its own size takes real steps on photographs."""

import json
import math
import tarfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.acceptance.product import ledger_lines, run
from tests.integration.trainer.conftest import train
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise
from trainer.running.local import read_spec

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
                "scale": {"cpus_per_replica": 2, "accelerator": "cpu"},
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
    _assert_every_layer_learned(read_spec(job), tmp_path / "run")


def _assert_every_layer_learned(spec: JobSpec, run_dir: Path) -> None:
    cpu = torch.device("cpu")
    network = AlexNet(spec.model, [cpu, cpu])
    initialise(network, spec.model, seed=spec.seed)
    latest = latest_checkpoint(RunDirectory(run_dir)).checkpoint
    assert latest is not None
    assert latest.manifest.step == NUM_STEPS
    weights = load_file(latest.folder / "model.safetensors")
    velocity = load_file(latest.folder / "velocity.safetensors")
    before = {name: tensor.detach() for name, tensor in network.named_parameters()}
    assert weights.keys() == velocity.keys() == before.keys()
    for name, tensor in before.items():
        assert not torch.equal(weights[name], tensor), f"{name} is as it was"
        # Weight decay alone would move it, straight back: a cosine of -1, to seven digits. That of
        # the layer whose gradient is smallest was measured as -0.9993.
        along = torch.cosine_similarity(velocity[name].flatten(), tensor.flatten(), dim=0)
        assert along > -0.9999, f"{name} only decayed"
