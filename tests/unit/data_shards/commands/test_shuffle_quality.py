import json

import numpy as np
from typer.testing import CliRunner, Result

from data_shards.__main__ import app
from data_shards.feeding.shuffle_quality import presented, shuffle_quality
from data_shards.manifest import load_manifest
from data_shards.order import epoch_order
from data_shards.shards.sidecars import load_index


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["shuffle-quality", *map(str, arguments)])


def test_measures_what_a_job_of_these_numbers_would_see(packed):
    asked = {"seed": 3, "epoch": 2, "streams": 2, "window": 2, "batch": 8}
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    done = run(packed, *options, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert {name: document[name] for name in asked} == asked
    sizes = [shard.num_samples for shard in load_manifest(packed).shards]
    index = np.array(load_index(packed, load_manifest(packed)))
    for name, streams, window in (("quality", 2, 2), ("full_shuffle", 1, 4)):
        order = epoch_order(sizes, seed=3, epoch=2, num_streams=streams, window=window)
        expected = shuffle_quality(
            presented(order, 8), shards=index[:, 0], labels=index[:, 3], batch_size=8
        )
        assert document[name] == vars(expected)


def test_a_table_has_both_columns(packed):
    done = run(packed / "manifest.json")
    assert done.exit_code == 0, done.stderr
    assert "8 streams, window 4" in done.stdout
    assert "full shuffle" in done.stdout
    assert "rank correlation" in done.stdout


def test_what_does_not_fit_is_told_in_a_sentence(packed, tmp_path):
    done = run(packed, "--streams", 3)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "3 streams do not divide the batch of 128" in done.stderr
    missing = run(tmp_path / "nowhere")
    assert missing.exit_code == 1
    assert "does not exist" in missing.stderr
