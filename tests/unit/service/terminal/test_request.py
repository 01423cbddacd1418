import json
from pathlib import Path
from typing import Any

import pytest

from service.terminal.request import RequestError, build_request


def build(file: Path | None = None, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "preset": None,
        "name": None,
        "train": None,
        "validation": None,
        "settings": (),
    }
    return build_request(file, **(given | options))


def test_options_lie_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"name": "filed", "optim": {"epochs": 1, "momentum": 0.5}}))
    request = build(file, settings=["optim.epochs=3", "labels.team=vision"], preset="small")
    assert request == {
        "preset": "small",
        "name": "filed",
        "optim": {"epochs": 3, "momentum": 0.5},
        "labels": {"team": "vision"},
    }


def test_paths_are_taken_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = build(train="train/manifest.json", validation="/v/manifest.json")
    assert request["data"] == {
        "train": str(tmp_path / "train" / "manifest.json"),
        "validation": "/v/manifest.json",
    }
    assert request["name"] == "job"


@pytest.mark.parametrize("setting", ["optim.epochs", "=3", "name.deeper=1"])
def test_what_is_no_setting_is_named(setting: str) -> None:
    with pytest.raises(RequestError, match="--set"):
        build(name="a name", settings=[setting])


def test_a_file_that_is_no_object_is_named(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    for text in ("[]", "{", "\x00"):
        file.write_text(text)
        with pytest.raises(RequestError, match=r"job\.json"):
            build(file)
    with pytest.raises(RequestError, match="missing"):
        build(tmp_path / "missing.json")


def test_a_url_stays_what_it_is() -> None:
    request = build(train="s3://bucket/train", validation="s3://bucket/validation")
    assert request["data"] == {"train": "s3://bucket/train", "validation": "s3://bucket/validation"}
