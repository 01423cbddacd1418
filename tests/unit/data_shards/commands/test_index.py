import json
from functools import partial

from typer.testing import CliRunner, Result

from data_shards.__main__ import app
from data_shards.inspection import index_foreign
from data_shards.manifest import load_manifest
from data_shards.packing.folder_lock import locked
from tests.unit.data_shards.inspection.foreign_tars import sample, write_tar


def run(*arguments: object) -> Result:
    command = ["index", *map(str, arguments), "--split", "train", "--processes", "1"]
    return CliRunner().invoke(app, command)


def test_tars_are_indexed_verified_and_shown(tmp_path):
    write_tar(tmp_path / "0.tar", [*sample(0, 0), *sample(1, 1), *sample(2, 1, b"no image")])
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    options = [tmp_path, "--label-field", "label", "--image-size", 32]
    result = run(*options, "--json")
    assert result.exit_code == 0, result.stderr
    assert "3 samples" in result.stderr
    summary = json.loads(result.stdout)
    assert summary["num_samples"] == 2
    assert summary["squared"] is False
    assert summary["images_in_statistics"] == 2
    assert summary["skipped"] == {"not_an_image": 1}
    assert summary["skipped_images"] == [{"path": "0.tar:0002", "reason": "not_an_image"}]
    assert [entry.name for entry in load_manifest(tmp_path).classes] == ["ant", "bee"]
    again = run(*options)
    assert again.exit_code == 1
    assert "index with --force to replace them" in again.stderr
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    shown = run(*options, "--force", "--classes", tmp_path / "names.txt", "--statistics-limit", 1)
    assert shown.exit_code == 0, shown.stderr
    assert "1 not_an_image" in shown.stdout
    assert [entry.name for entry in load_manifest(tmp_path).classes] == ["cat", "dog"]
    assert CliRunner().invoke(app, ["verify", str(tmp_path), "--decode"]).exit_code == 0
    table = CliRunner().invoke(app, ["inspect", str(tmp_path)]).stdout
    assert "as they came, squared when read" in table


def test_a_file_of_classes_that_is_not_there_is_told(tmp_path):
    write_tar(tmp_path / "0.tar", sample(0, 0))
    result = run(tmp_path, "--classes", tmp_path / "nowhere.txt")
    assert result.exit_code == 1
    assert "nowhere.txt does not exist" in result.stderr


def test_a_folder_that_another_process_writes_a_set_into_is_not_indexed(tmp_path, monkeypatch):
    monkeypatch.setattr(index_foreign, "locked", partial(locked, wait_s=0))
    write_tar(tmp_path / "0.tar", sample(0, 0))
    with locked(tmp_path, "out"):
        result = run(tmp_path, "--label-field", "label")
    assert result.exit_code == 1
    assert f"another process is packing into {tmp_path}, or indexing it; wait" in result.stderr
    assert not (tmp_path / "manifest.json").exists()
    assert run(tmp_path, "--label-field", "label").exit_code == 0
