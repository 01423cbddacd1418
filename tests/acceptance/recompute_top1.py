"""Recount the demo's top-1 from the safetensors file, with nothing of the project's own.

Usage: python recompute_top1.py DEMO_FOLDER JOB_ID. Tars by tarfile, JPEGs by Pillow, the network as
written down in the paper, in torch.nn.functional.
"""

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from PIL import Image
from safetensors.torch import load_file

CROP = 64


def samples(shards: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yield each image less the mean of the training set beside it, and its label."""
    mean = np.load(shards.parent / "train" / "mean_image.npy")
    for tar in sorted(shards.glob("*.tar")):
        with tarfile.open(tar) as members:
            files = {}
            for member in members:
                content = members.extractfile(member)
                assert content is not None
                files[member.name] = content.read()
        for name in sorted(name for name in files if name.endswith(".jpg")):
            pixels = np.asarray(Image.open(io.BytesIO(files[name])), np.float32)
            yield pixels - mean, int(files[name.replace(".jpg", ".cls")])


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Section 3.3: k = 2, n = 5, α = 1e-4, β = 0.75, over the tower's own channels."""
    squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, shift : shift + x.shape[1]] for shift in range(5))
    return x / (2 + 1e-4 * total) ** 0.75


def pool(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def forward(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    def layer(x: torch.Tensor, tower: int, name: str, **how: int) -> torch.Tensor:
        weight = weights[f"towers.{tower}.{name}.weight"]
        bias = weights[f"towers.{tower}.{name}.bias"]
        y = F.conv2d(x, weight, bias, **how) if weight.dim() == 4 else F.linear(x, weight, bias)
        return F.relu(y)

    towers = (0, 1)
    x = [F.pad(images, (0, 3, 0, 3)) for _ in towers]
    x = [pool(normalise(layer(x[t], t, "conv1", stride=4))) for t in towers]
    x = [pool(normalise(layer(x[t], t, "conv2", padding=2))) for t in towers]
    both = torch.cat(x, 1)
    x = [layer(both, t, "conv3", padding=1) for t in towers]
    x = [layer(x[t], t, "conv4", padding=1) for t in towers]
    x = [pool(layer(x[t], t, "conv5", padding=1)) for t in towers]
    both = torch.cat([half.flatten(1) for half in x], 1)
    # Section 4.2: at test time every output of fc6 and fc7 counts half.
    both = torch.cat([layer(both, t, "fc6") / 2 for t in towers], 1)
    both = torch.cat([layer(both, t, "fc7") / 2 for t in towers], 1)
    return F.linear(both, weights["fc8.weight"], weights["fc8.bias"])


def main(folder: Path, job_id: str) -> None:
    run = folder / "state" / "runs" / job_id
    last = max(run.glob("attempts/*/checkpoints/step-*"), key=lambda path: path.name)
    assert json.loads((last / "checkpoint.json").read_text())["version"] == 1
    weights = load_file(last / "model.safetensors")
    images, labels = zip(*samples(folder / "shards" / "validation"), strict=True)
    margin = (images[0].shape[0] - CROP) // 2
    window = np.s_[:, margin : margin + CROP, margin : margin + CROP]
    batch = torch.from_numpy(np.stack(images)[window]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        guesses = torch.cat([forward(weights, part).argmax(1) for part in batch.split(250)])
    print((guesses == torch.tensor(labels)).float().mean(dtype=torch.float64).item())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
