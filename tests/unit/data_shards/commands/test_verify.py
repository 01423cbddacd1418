import json

import numpy as np
from typer.testing import CliRunner, Result

from data_shards.__main__ import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments), "--processes", "1"])


def test_corrupt_images_are_counted_when_all_are_decoded(own_copy, seal):
    shard, offset, _, _ = np.load(own_copy / "index.npy")[11].tolist()
    with (own_copy / f"train-{shard:06d}.tar").open("r+b") as file:
        file.seek(offset)
        file.write(b"no JPEG")
    seal(own_copy)
    sound = run(own_copy)
    assert sound.exit_code == 0
    assert "All as packed" in sound.stdout
    assert "Decoding" not in sound.stderr
    found = run(own_copy, "--decode", "--json")
    assert found.exit_code == 1
    assert "Decoding" in found.stderr
    summary = json.loads(found.stdout)
    assert summary["corrupt"] == [
        {"shard": "train-000001.tar", "reason": "not_an_image", "count": 1, "keys": ["000000011"]}
    ]
    shown = run(own_copy, "--decode")
    assert "Not as packed" in shown.stdout
    assert "train-000001.tar: has 1 image that cannot be used" in shown.stdout
