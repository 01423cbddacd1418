import json
import os
import re
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from data_shards.inspection import sheet_of_set as module
from data_shards.inspection.contact_sheet import draw_sheet
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.sheet_of_set import sheet_of_set
from data_shards.manifest import load_manifest
from data_shards.packing.pack import pack
from tests.unit.data_shards.conftest import CLASS_SIZES


def rows_of(location: object, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Any]:
    """Return the tiles of a sheet, and draw it."""
    drawn = []

    def draw(title: str, facts: list[str], rows: list[Any]) -> Image.Image:
        drawn.append(rows)
        return draw_sheet(title, facts, rows)

    monkeypatch.setattr(module, "draw_sheet", draw)
    options = {"columns": 3, "rows": 2, "seed": 0, "by_class": False, **changes}
    sheet_of_set(open_set(str(location)), **options)
    return drawn[0]


def test_tiles_are_samples_spread_over_the_set_with_label_and_class(packed, monkeypatch):
    rows = rows_of(packed, monkeypatch)
    assert [len(row) for row in rows] == [3, 3]
    manifest, index = load_manifest(packed), np.load(packed / "index.npy")
    numbers = []
    for tile in (tile for row in rows for tile in row):
        label, sample = (int(number) for number in re.findall(r"\d+", tile.note))
        numbers.append(sample)
        shard, offset, size, expected = index[sample].tolist()
        assert label == expected
        assert tile.caption == manifest.classes[label].name
        stored = (packed / manifest.shards[shard].name).read_bytes()[offset : offset + size]
        assert np.array_equal(tile.image, simplejpeg.decode_jpeg(stored))
    assert numbers == sorted(numbers)
    # One of each sixth of the 37 samples.
    for part, number in enumerate(numbers):
        assert part * 37 // 6 <= number < (part + 1) * 37 // 6


def test_the_last_row_may_be_shorter(packed, monkeypatch):
    rows = rows_of(packed, monkeypatch, columns=8, rows=9)
    assert [len(row) for row in rows] == [8, 8, 8, 8, 5]


def test_before_each_image_it_may_be_given_up(packed, monkeypatch):
    asked: list[int] = []

    def ask() -> None:
        asked.append(len(asked))
        if len(asked) > 8:
            raise TimeoutError

    rows_of(packed, monkeypatch, before_each=ask)
    assert len(asked) == 6
    with pytest.raises(TimeoutError):
        rows_of(packed, monkeypatch, before_each=ask)


def test_a_class_a_row(packed, monkeypatch):
    rows = rows_of(packed, monkeypatch, columns=6, rows=9, by_class=True)
    assert [[tile.caption for tile in row] for row in rows] == [
        [name] * min(count, 6) for name, count in CLASS_SIZES.items()
    ]


def test_raw_sets_are_shown(request_for, tmp_path, monkeypatch):
    pack(request_for(encoding="raw"), tmp_path, num_processes=1)
    (first, *_), _ = rows_of(tmp_path, monkeypatch)
    assert first.image.shape == (32, 32, 3)


def test_what_cannot_be_read_is_a_placeholder_with_the_reason(own_copy, monkeypatch):
    (own_copy / "train-000001.tar").unlink()
    index = np.load(own_copy / "index.npy")
    with (own_copy / "train-000000.tar").open("r+b") as file:
        file.seek(int(index[0, 1]))
        file.write(b"no JPEG")
    os.truncate(own_copy / "train-000002.tar", 600)
    (row,) = rows_of(own_copy, monkeypatch, columns=30, rows=2)[:1]
    assert [tile.problem for tile in row[:2]] == ["not_an_image: is not a JPEG", ""]
    assert row[0].image is None
    assert row[1].image is not None
    assert row[10].problem == "train-000001.tar is missing"
    assert "ends before byte" in row[-1].problem


def test_classes_without_samples_are_not_counted_among_those_to_be_shown(own_copy, monkeypatch):
    document = json.loads((own_copy / "manifest.json").read_text())
    document["classes"] += [{"name": "none", "synset": None}] * 2
    (own_copy / "manifest.json").write_text(json.dumps(document))
    told = []
    monkeypatch.setattr(module, "draw_sheet", lambda title, facts, rows: told.extend(facts))
    sheet_of_set(open_set(str(own_copy)), columns=3, rows=4, seed=0, by_class=True)
    assert told[0] == "4 of 5 classes that have samples, one a row"
