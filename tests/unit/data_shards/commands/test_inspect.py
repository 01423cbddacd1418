import json

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from data_shards.__main__ import app
from data_shards.commands import inspect
from data_shards.manifest import load_manifest
from tests.unit.data_shards.conftest import CLASS_SIZES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def test_a_set_is_shown_as_tables(packed):
    shown = run(packed)
    assert shown.exit_code == 0
    lines = [line.strip("│ ") for line in shown.stdout.splitlines()]
    cells = dict(line.split("│", 1) for line in lines if "│" in line)
    cells = {name.strip(): value.strip() for name, value in cells.items()}
    assert cells["split"] == "train"
    assert cells["samples"] == "37"
    assert cells["classes"] == "5; 4 to 11 samples in each, median 8"
    assert cells["shards"] == "4"
    assert cells["images"] == "32×32, jpeg of quality 90"
    assert cells["made from"] == "image-folder, seed 1"
    assert cells["skipped"] == "none"
    assert len(cells["mean colour"].split(", ")) == 3
    assert [cells[str(label)].split()[0] for label in range(5)] == list(CLASS_SIZES)
    assert "train-000003.tar" not in shown.stdout
    with_shards = run(packed, "--shards").stdout
    for entry in load_manifest(packed).shards:
        assert entry.name in with_shards
        assert entry.sha256[:16] in with_shards


def test_json_holds_all_of_it(packed):
    document = json.loads(run(packed, "--json").stdout)
    manifest = load_manifest(packed)
    assert document["location"] == str(packed)
    assert document["content_sha256"] == manifest.content_sha256()
    assert document["num_samples"] == 37
    assert document["class_balance"] == {
        "smallest": 4,
        "median": 8.0,
        "largest": 11,
        "num_empty": 0,
    }
    assert {entry["name"]: entry["num_samples"] for entry in document["classes"]} == CLASS_SIZES
    assert [entry["label"] for entry in document["classes"]] == list(range(5))
    assert len(document["shards"]) == 4
    assert len(document["mean_colour"]) == 3
    assert document["contact_sheet"] is None
    assert document["problems"] == []


def test_many_classes_are_cut_short_unless_asked_for(own_copy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    document = json.loads((own_copy / "manifest.json").read_text())
    document["classes"] += [{"name": f"more {n}", "synset": None} for n in range(1000)]
    (own_copy / "manifest.json").write_text(json.dumps(document))
    shown = run(own_copy).stdout
    assert "more 4" in shown
    assert "more 5" not in shown
    assert "and 995 more classes; --classes shows them" in shown
    assert "1,000 without any" in shown
    assert "more 999" in run(own_copy, "--classes").stdout


def test_names_cannot_drive_the_terminal(own_copy):
    document = json.loads((own_copy / "manifest.json").read_text())
    document["classes"][0]["name"] = "\x1b[2J[red]ant"
    (own_copy / "manifest.json").write_text(json.dumps(document))
    shown = run(own_copy).stdout
    assert "\x1b" not in shown
    assert r"\x1b[2J[red]ant" in shown


def test_a_contact_sheet_is_drawn(packed, tmp_path):
    sheet = tmp_path / "out.png"
    options = ["--contact-sheet", sheet, "--columns", 5, "--rows", 2]
    assert run(packed, *options).exit_code == 0
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 5 * 160
        first = image.tobytes()
    assert json.loads(run(packed, *options, "--json").stdout)["contact_sheet"] == str(sheet)
    with Image.open(sheet) as image:
        assert image.tobytes() == first
    run(packed, *options, "--seed", 1)
    with Image.open(sheet) as image:
        assert image.tobytes() != first
    run(packed, *options, "--by-class")
    with Image.open(sheet) as image:
        assert image.tobytes() != first


@pytest.mark.parametrize("options", [["--contact-sheet", "out.gif"], ["--rows", 0]])
def test_wrong_options_are_usage_errors(packed, options):
    assert run(packed, *options).exit_code == 2


def test_a_sheet_that_cannot_be_written_is_told_before_it_is_drawn(packed, monkeypatch):
    def draw(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(inspect, "sheet_of_set", draw)
    monkeypatch.setenv("COLUMNS", "200")
    result = run(packed, "--contact-sheet", "nowhere/out.png")
    assert result.exit_code == 2
    assert "nowhere is no folder; make it, or name another" in result.stderr


def test_tars_that_were_left_out_are_named_and_not_counted(own_copy):
    document = json.loads((own_copy / "manifest.json").read_text())
    packing = document["packing"]
    packing["skipped_images"] = [{"path": "0.tar", "reason": "refused: is no tar"}]
    (own_copy / "manifest.json").write_text(json.dumps(document))
    shown = run(own_copy).stdout
    assert "0.tar: refused: is no tar" in shown
    packing["skipped"] = {"no_label": 3}
    packing["skipped_images"].append({"path": "1.tar:7", "reason": "no_label"})
    (own_copy / "manifest.json").write_text(json.dumps(document))
    assert "and 2 more" in run(own_copy).stdout


def test_what_is_wrong_beside_the_shards_is_told_with_what_is_right(own_copy):
    (own_copy / "index.npy").unlink()
    result = run(own_copy)
    assert result.exit_code == 1
    assert "37" in result.stdout
    assert "index.npy: is missing" in result.stderr
