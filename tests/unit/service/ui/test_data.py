"""The page of data, over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.access.caller import Caller, Role
from service.control_plane import ControlPlane
from service.settings import Settings
from service.ui import data
from service.ui.data_batch import DrawnBatch
from service.ui.data_facts import Inspected, InspectedClass
from service.ui.data_looks import LookError, Looks
from tests.unit.service.conftest import make_spec, manifest_document, now, write_manifest
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, guarding

EVIL = "<script>alert(1)</script>"
BATCH = DrawnBatch(
    seed=0,
    epoch=0,
    step=0,
    streams=8,
    window=4,
    batch=128,
    image_size=72,
    crop_size=64,
    colour=0.1,
    num_shown=32,
    num_images=128,
)


@pytest.fixture(scope="module")
def over_data(settings: Settings, databases: Databases, data_root: Path) -> Iterator[Guarded]:
    with guarding(settings, databases, data_roots=(str(data_root),)) as served:
        yield served


@pytest.fixture(scope="module")
def evil_set(data_root: Path) -> Path:
    document = manifest_document()
    document["packing"]["source"] = EVIL
    file = write_manifest(data_root / "evil")
    file.write_text(json.dumps(document))
    return file


def test_a_set_is_shown_by_its_manifest(over_data: Guarded, evil_set: Path) -> None:
    html = over_data.ann.get("/ui/data", params={"location": str(evil_set)}).text
    for told in ("72 × 72 pixels", "jpeg of quality 92", "train-00000.tar", "Component 1"):
        assert told in html
    assert EVIL not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("location", "told"),
    [("/etc", "lies outside"), ("nothing/there", "does not exist"), (EVIL, "&lt;script&gt;")],
)
def test_what_cannot_be_shown_is_told_beside_the_field(
    over_data: Guarded, location: str, told: str
) -> None:
    answer = over_data.ann.get("/ui/data", params={"location": location})
    assert answer.status_code == 422
    assert 'id="location-error"' in answer.text
    assert told in answer.text
    assert EVIL not in answer.text


def test_viewers_look_at_what_jobs_name_that_they_see(over_data: Guarded, data_root: Path) -> None:
    store, ann = over_data.plane.store, Caller(owner="ann", role=Role.SUBMITTER)
    train, validation = (str(data_root / name) for name in ("train", "validation"))
    hidden = make_spec(data={"train": validation, "validation": validation})
    store.submit("hidden", hidden, now(), by=ann, private=True)
    shown = make_spec(data={"train": train, "validation": train})
    store.submit("shown", shown, now(), by=ann)
    assert over_data.vic.get("/ui/data", params={"location": train}).status_code == 200
    refused = over_data.vic.get("/ui/data", params={"location": validation})
    assert refused.status_code == 422
    assert "no job that you can see names this set" in refused.text
    # Without a location it is the newest job's.
    assert f'value="{train}"' in over_data.vic.get("/ui/data").text
    assert f'value="{train}"' in over_data.bob.get("/ui/data").text


def test_a_set_is_looked_into_by_a_button(
    over_data: Guarded, evil_set: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken: list[str] = []
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"PNG")
    batch = tmp_path / "batch.png"
    batch.write_bytes(b"BATCH")
    classes = (InspectedClass(name=EVIL, num_samples=20),)
    told = Inspected(classes=classes, mean_colour=(1, 2, 3), problems=(f"damaged {EVIL}",))
    monkeypatch.setattr(
        Looks, "take", lambda _self, _key, location, draws_batch: taken.append(location)
    )
    monkeypatch.setattr(Looks, "found", lambda _self, _key: told if taken else None)
    monkeypatch.setattr(Looks, "sheet", lambda _self, _key: sheet if taken else None)
    monkeypatch.setattr(Looks, "batch", lambda _self, _key: batch if taken else None)
    monkeypatch.setattr(Looks, "drawn_batch", lambda _self, _key: BATCH if taken else None)
    monkeypatch.setattr(Looks, "why_no_batch", lambda _self, _key: "")
    query = {"location": str(evil_set)}
    assert "Look into the set" in over_data.ann.get("/ui/data", params=query).text
    answer = over_data.ann.post("/ui/data/look", data=query)
    assert (answer.status_code, taken) == (303, [str(evil_set.resolve())])
    html = over_data.ann.get(answer.headers["Location"]).text
    assert f'alt="{BATCH.alt}"' in html
    assert BATCH.caption in html
    for shown in (
        "/ui/data/sheets/",
        "/ui/data/batches/",
        "rgb(1 2 3)",
        'id="balance-figure"',
        "damaged",
    ):
        assert shown in html
    assert EVIL not in html
    assert "Look into the set" not in html
    monkeypatch.setattr(Looks, "drawn_batch", lambda _self, _key: None)
    monkeypatch.setattr(Looks, "why_no_batch", lambda _self, _key: f"no step {EVIL}")
    without = over_data.ann.get(answer.headers["Location"]).text
    assert "No batch is shown: no step" in without
    assert EVIL not in without
    assert "Look into the set" in without
    for kind, content in (("sheets", b"PNG"), ("batches", b"BATCH")):
        sent = over_data.ann.get(f"/ui/data/{kind}/{'0' * 64}.png")
        assert (sent.content, sent.headers["Content-Type"]) == (content, "image/png")
        assert sent.headers["Cache-Control"] == "private, no-store"


def test_only_a_leader_looks_and_for_those_alone_who_may_submit(
    over_data: Guarded, evil_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    monkeypatch.setattr(Looks, "take", lambda _self, key, _location: taken.append(key))
    query = {"location": str(evil_set)}
    assert over_data.vic.post("/ui/data/look", data=query).status_code == 403
    monkeypatch.setattr(ControlPlane, "is_leader", property(lambda _self: False))
    assert over_data.ann.post("/ui/data/look", data=query).status_code == 503
    assert not taken


def test_a_look_that_fails_is_told(
    over_data: Guarded, evil_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Looks, _key: str, _location: str, **_options: bool) -> None:
        raise LookError(f"another set {EVIL}")

    monkeypatch.setattr(Looks, "take", fail)
    answer = over_data.ann.post("/ui/data/look", data={"location": str(evil_set)})
    assert answer.status_code == 503
    assert "another set &lt;script" in answer.text
    assert over_data.ann.post("/ui/data/look", data={"location": "/etc"}).status_code == 422
    for kind in ("sheets", "batches"):
        assert over_data.ann.get(f"/ui/data/{kind}/{'0' * 64}.png").status_code == 404


def test_where_nothing_can_draw_that_is_said(
    http: httpx.Client, plane: ControlPlane, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "is_installed", lambda: False)
    monkeypatch.setattr(
        plane, "settings", plane.settings.model_copy(update={"data_roots": (str(data_root),)})
    )
    html = http.get("/ui/data", params={"location": str(data_root / "train")}).text
    assert "no packages that read images" in html
    assert "/ui/data/look" not in html
