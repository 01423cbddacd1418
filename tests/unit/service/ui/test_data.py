"""The page of data, over real HTTP."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from service.access.caller import Caller, Role
from service.control_plane import ControlPlane
from service.settings import Settings
from service.ui import data, data_sets
from service.ui.data_batch import DrawnBatch
from service.ui.data_facts import Inspected, InspectedClass
from service.ui.data_looks import Looks
from service.ui.data_program import LookError
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
    recipe="paper",
    random_crop=True,
    mirror=False,
    num_shown=32,
    num_images=128,
)


@dataclass
class Drawn:
    """What looks were asked for, in place of the program."""

    sets: list[str] = field(default_factory=list)
    batches: dict[str, Sequence[str]] = field(default_factory=dict)
    """Options by key."""

    @property
    def options(self) -> list[str]:
        """Those of the batch that was asked for last."""
        return list(list(self.batches.values())[-1])

    def value(self, option: str) -> str:
        return self.options[self.options.index(option) + 1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Drawn:
    """Has pictures be there as soon as they are asked for."""
    asked = Drawn()
    sheet, batch = tmp_path / "sheet.png", tmp_path / "batch.png"
    sheet.write_bytes(b"PNG")
    batch.write_bytes(b"BATCH")
    classes = (InspectedClass(name=EVIL, num_samples=20),)
    told = Inspected(classes=classes, mean_colour=(1, 2, 3), problems=(f"damaged {EVIL}",))
    keys: list[str] = []

    def take(_self: Looks, key: str, location: str) -> None:
        keys.append(key)
        asked.sets.append(location)

    def draw(_self: Looks, key: str, _location: str, options: Sequence[str]) -> None:
        asked.batches[key] = options

    monkeypatch.setattr(Looks, "take", take)
    monkeypatch.setattr(Looks, "draw", draw)
    monkeypatch.setattr(Looks, "found", lambda _self, key: told if key in keys else None)
    monkeypatch.setattr(Looks, "sheet", lambda _self, key: sheet if key in keys else None)
    monkeypatch.setattr(Looks, "batch", lambda _self, key: batch if key in asked.batches else None)
    monkeypatch.setattr(
        Looks, "drawn_batch", lambda _self, key: BATCH if key in asked.batches else None
    )
    return asked


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


def test_a_set_is_looked_into_by_a_button(over_data: Guarded, evil_set: Path, drawn: Drawn) -> None:
    query = {"location": str(evil_set)}
    assert "Look into the set" in over_data.ann.get("/ui/data", params=query).text
    answer = over_data.ann.post("/ui/data/look", data=query)
    assert (answer.status_code, drawn.sets) == (303, [str(evil_set.resolve())])
    html = over_data.ann.get(answer.headers["Location"]).text
    assert f'alt="{BATCH.alt}"' in html
    assert BATCH.caption in html
    for shown in ("rgb(1 2 3)", 'id="balance-figure"', "damaged"):
        assert shown in html
    assert EVIL not in html
    assert "Look into the set" not in html
    for kind, content in (("sheets", b"PNG"), ("batches", b"BATCH")):
        [path] = set(re.findall(rf"/ui/data/{kind}/[0-9a-f]{{64}}\.png", html))
        sent = over_data.ann.get(path)
        assert (sent.content, sent.headers["Content-Type"]) == (content, "image/png")
        assert sent.headers["Cache-Control"] == "private, no-store"


def test_without_a_job_the_batch_is_a_preset_s_that_fits_and_says_so(
    over_data: Guarded, evil_set: Path, drawn: Drawn
) -> None:
    query = {"location": str(evil_set)}
    html = over_data.ann.get("/ui/data", params=query).text
    assert "as a job of the preset <b>small</b> would take it: of the newest jobs" in html
    assert 'value="preset:paper"' not in html
    over_data.ann.post("/ui/data/look", data=query)
    assert (drawn.value("--batch"), drawn.value("--crop-size")) == ("64", "64")
    assert "--no-mirror" in drawn.options
    wrong = over_data.ann.post("/ui/data/look", data=query | {"whose": EVIL})
    assert wrong.status_code == 422
    assert "choose one of preset:small" in wrong.text
    assert EVIL not in wrong.text
    assert over_data.ann.post("/ui/data/look", data=query | {"step": EVIL}).status_code == 422


def test_the_batch_is_that_of_the_newest_job_or_of_the_one_that_is_chosen(
    over_data: Guarded, data_root: Path, drawn: Drawn
) -> None:
    file = write_manifest(data_root / "trained")
    store, ann = over_data.plane.store, Caller(owner="ann", role=Role.SUBMITTER)
    data = {"train": str(file.resolve()), "validation": str(file.resolve())}
    # Of 20 samples, five steps an epoch.
    fields = {"data": data | {"num_streams": 2}, "optim": {"global_batch_size": 4, "epochs": 2}}
    older = make_spec(name="older", seed=3, **fields)
    newer = make_spec(name="newer", seed=4, augment={"mirror": False}, **fields)
    for name, spec in (("older", older), ("newer", newer)):
        store.submit(f"{name}-id", spec, now(), by=ann)
    query = {"location": data["train"]}
    html = over_data.vic.get("/ui/data", params=query).text
    assert '<a href="/ui/jobs/newer-id">newer</a>, the newest job that trains on this set' in html
    over_data.bob.post("/ui/data/look", data=query)
    assert (drawn.value("--seed"), "--no-mirror" in drawn.options) == ("4", True)
    chosen = query | {"whose": "job:older-id", "step": "8"}
    answer = over_data.bob.post("/ui/data/look", data=chosen)
    assert (drawn.value("--seed"), "--no-mirror" in drawn.options) == ("3", False)
    assert (drawn.value("--epoch"), drawn.value("--step")) == ("1", "3")
    html = over_data.vic.get(answer.headers["Location"]).text
    assert 'Step 8 of <a href="/ui/jobs/older-id">older</a>.' in html
    assert "/ui/data/batches/" in html
    late = over_data.bob.post("/ui/data/look", data=chosen | {"step": "10"})
    assert late.status_code == 422
    assert "takes 10 steps" in late.text
    assert len(drawn.batches) == 2


def test_a_set_that_an_older_job_names_is_shown_with_its_batch(
    over_data: Guarded, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    old, new = (str(write_manifest(data_root / name).resolve()) for name in ("of-old", "of-new"))
    for location in (old, new):
        spec = make_spec(data={"train": location, "validation": location, "num_streams": 4})
        over_data.plane.store.submit(f"on-{Path(location).parent.name}", spec, now(), by=ann)
    monkeypatch.setattr(data_sets, "_LATEST", 1)
    assert over_data.vic.get("/ui/data", params={"location": old}).status_code == 422
    shown = over_data.vic.get("/ui/data", params={"location": old, "whose": "job:on-of-old"})
    assert shown.status_code == 200
    assert '<a href="/ui/jobs/on-of-old">' in shown.text
    refused = over_data.vic.get("/ui/data", params={"location": old, "whose": "job:on-of-new"})
    assert refused.status_code == 422


def test_others_are_told_of_no_private_job_by_its_batch(
    over_data: Guarded, data_root: Path, drawn: Drawn
) -> None:
    file = write_manifest(data_root / "shared")
    store = over_data.plane.store
    data = {"train": str(file.resolve()), "validation": str(file.resolve())}
    for owner, private in (("ann", False), ("bob", True)):
        spec = make_spec(name=f"{owner}-s", data=data | {"num_streams": 4})
        caller = Caller(owner=owner, role=Role.SUBMITTER)
        store.submit(f"{owner}-s-id", spec, now(), by=caller, private=private)
    query = {"location": data["train"]}
    assert "bob-s-id" in over_data.bob.get("/ui/data", params=query).text
    assert over_data.bob.post("/ui/data/look", data=query).status_code == 303
    for client in (over_data.ann, over_data.vic):
        html = client.get("/ui/data", params=query).text
        assert "bob-s" not in html
        assert "ann-s-id" in html
        # The same values, and yet no picture that is only of the other's job.
        assert "/ui/data/batches/" not in html
        asked = query | {"whose": "job:bob-s-id"}
        assert client.get("/ui/data", params=asked).status_code == 404
    assert over_data.ann.post("/ui/data/look", data=asked).status_code == 404
    assert len(drawn.batches) == 1


def test_of_a_set_that_jobs_only_measure_on_a_batch_is_drawn_where_one_is_chosen(
    over_data: Guarded, data_root: Path, drawn: Drawn
) -> None:
    train, measured = (
        str(write_manifest(data_root / name).resolve()) for name in ("fed", "measured")
    )
    spec = make_spec(data={"train": train, "validation": measured})
    caller = Caller(owner="ann", role=Role.SUBMITTER)
    over_data.plane.store.submit("measures", spec, now(), by=caller)
    query = {"location": measured}
    assert over_data.ann.post("/ui/data/look", data=query).status_code == 303
    assert not drawn.batches
    assert "Jobs only measure on this set" in over_data.ann.get("/ui/data", params=query).text
    over_data.ann.post("/ui/data/look", data=query | {"whose": "preset:small"})
    assert len(drawn.batches) == 1


def test_buttons_are_shown_to_those_alone_for_whom_they_work(
    over_data: Guarded, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(write_manifest(data_root / "seen").resolve())
    spec = make_spec(data={"train": file, "validation": file})
    caller = Caller(owner="ann", role=Role.SUBMITTER)
    over_data.plane.store.submit("seen", spec, now(), by=caller)
    query = {"location": file}
    assert "/ui/data/look" in over_data.ann.get("/ui/data", params=query).text
    viewed = over_data.vic.get("/ui/data", params=query).text
    assert "a token that may submit jobs may" in viewed
    assert "/ui/data/look" not in viewed
    monkeypatch.setattr(ControlPlane, "is_leader", property(lambda _self: False))
    standing_by = over_data.ann.get("/ui/data", params=query).text
    assert "this one stands by" in standing_by
    assert "/ui/data/look" not in standing_by


def test_only_a_leader_looks_and_for_those_alone_who_may_submit(
    over_data: Guarded, evil_set: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"location": str(evil_set)}
    assert over_data.vic.post("/ui/data/look", data=query).status_code == 403
    monkeypatch.setattr(ControlPlane, "is_leader", property(lambda _self: False))
    assert over_data.ann.post("/ui/data/look", data=query).status_code == 503
    assert not drawn.sets


def test_a_look_that_fails_is_told(
    over_data: Guarded, evil_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Looks, _key: str, _location: str) -> None:
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
