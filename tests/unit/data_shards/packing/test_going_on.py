"""What a run finished is there for the next one, whenever it was killed."""

import hashlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import fsspec
import pytest

from data_shards.arrays import Pixels
from data_shards.errors import PackError
from data_shards.manifest import parse_manifest
from data_shards.packing import request as packing_request
from data_shards.packing.begun import read_begun
from data_shards.packing.pack import PackReport, pack
from data_shards.packing.request import PackRequest
from data_shards.sources.source import ImageReader, Reference
from data_shards.storage.folder import Folder, open_folder
from tests.unit.data_shards.packing.rehearsal import Killed, Steps, contents

# Few, for each of these tests packs them a hundred times: shards of 3, 3 and 1.
SMALL = {"limit": 7, "samples_per_shard": 3}


@dataclass(frozen=True)
class CountingReader:
    """Notes what is read."""

    reader: ImageReader
    read_so_far: list[Reference]

    def read(self, reference: Reference) -> bytes | Pixels:
        self.read_so_far.append(reference)
        return self.reader.read(reference)


@pytest.fixture
def steps(monkeypatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture(params=["folder", "store"])
def place(request, tmp_path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    fsspec.filesystem("memory").store.clear()
    return "memory://bucket/out"


def counted(request: PackRequest) -> tuple[PackRequest, list[Reference]]:
    read: list[Reference] = []
    reader = CountingReader(request.source.reader, read)
    return replace(request, source=replace(request.source, reader=reader)), read


def run(request: PackRequest, place: str, tmp_path: Path, *, force: bool = False) -> PackReport:
    return pack(request, place, num_processes=1, force=force, scratch=tmp_path / "scratch")


def run_or_replace(request: PackRequest, place: str, tmp_path: Path) -> PackReport:
    """Run, with force if another set lies there, finished or not."""
    try:
        return run(request, place, tmp_path)
    except PackError:
        with pytest.raises(PackError, match=r"packed otherwise|not finished, and is another"):
            run(request, place, tmp_path)
        return run(request, place, tmp_path, force=True)


def assert_no_manifest_of_what_is_not_whole(folder: Folder) -> None:
    files = contents(folder)
    if "manifest.json" not in files:
        return
    manifest = parse_manifest(files["manifest.json"].decode(), "manifest.json")
    for entry in manifest.files:
        assert hashlib.sha256(files[entry.name]).hexdigest() == entry.sha256


def assert_nothing_is_left(place: str, tmp_path: Path) -> None:
    if not place.startswith("memory"):
        assert not (Path(place) / ".packing").exists()
    assert not open_folder(place + "/.packing").names()
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def killed_at_each_step(
    begin: Callable[[], object], go_on: Callable[[], None], steps: Steps
) -> int:
    """Kill `begin` at each of its steps in turn and go on; return how many steps it has."""
    for count in itertools.count():
        steps.allow(count)
        try:
            begin()
        except Killed:
            steps.allow(None)
            go_on()
        else:
            steps.allow(None)
            return count
    raise AssertionError


def empty(place: str) -> None:
    fsspec.filesystem("memory").store.clear()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def undisturbed(request_for, steps, tmp_path) -> dict[str, bytes]:
    """What packing the small request gives."""
    pack(request_for(**SMALL), tmp_path / "undisturbed", num_processes=1)
    return contents(open_folder(tmp_path / "undisturbed"))


def test_killed_at_any_step_a_run_is_gone_on_with(request_for, undisturbed, place, tmp_path, steps):
    request, read = counted(request_for(**SMALL))

    def go_on() -> None:
        assert_no_manifest_of_what_is_not_whole(open_folder(place))
        report = run(request, place, tmp_path)
        assert contents(open_folder(place)) == undisturbed
        assert len(set(read)) == 7
        # At most the shard that was open was made again.
        assert len(read) <= 7 + 3
        if not report.already_packed:
            assert report.num_tried + report.num_taken == 7
            assert report.num_taken == min(report.shards_taken * 3, 7)
        assert_nothing_is_left(place, tmp_path)
        empty(place)
        read.clear()

    assert killed_at_each_step(lambda: run(request, place, tmp_path), go_on, steps) > 20


def test_killed_as_it_replaces_another_set_a_run_goes_on_without_force(
    request_for, undisturbed, place, tmp_path, steps
):
    request = request_for(**SMALL)
    other = request_for(split="validation", samples_per_shard=2, limit=5)

    def begin() -> None:
        if not open_folder(place).names():
            allowed = steps.last
            steps.allow(None)
            run(other, place, tmp_path)
            steps.allow(allowed)
        run(request, place, tmp_path, force=True)

    def go_on() -> None:
        assert_no_manifest_of_what_is_not_whole(open_folder(place))
        begun = read_begun(open_folder(place + "/.packing"))
        if begun is not None and begun.request_sha256 == request.sha256:
            run(request, place, tmp_path)
        else:
            run_or_replace(request, place, tmp_path)
        assert contents(open_folder(place)) == undisturbed
        assert_nothing_is_left(place, tmp_path)
        empty(place)

    assert killed_at_each_step(begin, go_on, steps) > 25


def test_another_request_ends_with_its_own_bytes_whenever_the_first_was_killed(
    request_for, undisturbed, place, tmp_path, steps
):
    request = request_for(**SMALL)
    # More shards, and of the same names.
    other = request_for(samples_per_shard=2, limit=7, quality=50)

    def go_on() -> None:
        assert run_or_replace(request, place, tmp_path).shards_taken == 0
        assert contents(open_folder(place)) == undisturbed
        assert_nothing_is_left(place, tmp_path)
        empty(place)

    assert killed_at_each_step(lambda: run(other, place, tmp_path), go_on, steps) > 20


@pytest.fixture
def after_three_shards(request_for, place, tmp_path, steps):
    """A place in which a run was stopped as by Ctrl-C in its last shard; and its request."""
    request, read = counted(request_for())

    class Stopping(CountingReader):
        def read(self, reference: Reference) -> bytes | Pixels:
            if len(self.read_so_far) == 33:
                raise KeyboardInterrupt
            return super().read(reference)

    assert isinstance(request.source.reader, CountingReader)
    stopping = Stopping(request.source.reader.reader, read)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(replace(request, source=replace(request.source, reader=stopping)), place, tmp_path)
    (note,) = stopped.value.__notes__
    assert note.startswith("3 of 4 shards are finished and kept")
    assert "the same command, without --force, goes on" in note
    read.clear()
    return request, read


def test_stopped_in_good_order_a_run_keeps_what_is_finished_alone(
    after_three_shards, place, tmp_path, packed
):
    request, read = after_three_shards
    shards = [f"train-00000{number}.tar" for number in range(3)]
    in_work = set(open_folder(place + "/.packing").names())
    if place.startswith("memory"):
        assert set(open_folder(place).names()) == set(shards)
    else:
        in_work -= set(shards)
        assert not open_folder(place).names()
    assert in_work == {"begun.json", *(f"{shard}.record" for shard in shards)}
    taken: list[int] = []
    report = pack(request, place, num_processes=1, on_taken=taken.append)
    assert (report.shards_taken, report.num_taken, report.num_tried) == (3, 30, 7)
    assert taken == [10, 10, 10]
    assert len(read) == 7
    assert contents(open_folder(place)) == contents(open_folder(packed))


def test_with_force_nothing_of_an_earlier_run_is_taken(after_three_shards, place, tmp_path, packed):
    request, read = after_three_shards
    assert run(request, place, tmp_path, force=True).shards_taken == 0
    assert len(read) == 37
    assert contents(open_folder(place)) == contents(open_folder(packed))


@pytest.mark.parametrize("damaged", ["shard", "record", "no shard", "no record"])
def test_what_is_not_as_it_was_finished_is_made_again(
    after_three_shards, place, tmp_path, packed, damaged
):
    request, read = after_three_shards
    work = open_folder(place + "/.packing")
    shards = open_folder(place) if place.startswith("memory") else work
    where, name = (
        (shards, "train-000001.tar") if "shard" in damaged else (work, "train-000001.tar.record")
    )
    content = bytearray(where.read_bytes(name, 1 << 20))
    content[len(content) // 2] ^= 1
    if damaged.startswith("no"):
        where.delete(name)
    else:
        where.put_bytes(bytes(content), name)
    assert run(request, place, tmp_path).shards_taken == 2
    assert len(read) == 17
    assert contents(open_folder(place)) == contents(open_folder(packed))


def changed(change: str, request: PackRequest, work: Folder) -> PackRequest:
    if change == "option":
        return replace(request, quality=91, seed=3)
    if change == "image":
        return replace(request, source=replace(request.source, sha256="1" * 64))
    if change == "note":
        work.put_bytes(b"{}", "begun.json")
    if change == "no note":
        work.delete("begun.json")
    # Without what is remembered of it.
    return replace(request)


@pytest.mark.parametrize(
    "case",
    [
        ("option", r"another: seed 1 \(asked: 3\), quality 90 \(asked: 91\); go on with that"),
        ("image", "another: other images; go on with that"),
        ("package", r"another: pillow \S+ \(asked: 0.1\); go on with that"),
        ("note", "another: begun by another release; go on with that"),
        ("no note", "another: begun by another release; go on with that"),
    ],
)
def test_another_request_throws_away_what_was_finished_with_force_alone(
    after_three_shards, place, tmp_path, monkeypatch, case
):
    change, told = case
    if change == "package":
        monkeypatch.setattr(
            packing_request, "version", lambda name: "0.1" if name == "pillow" else version(name)
        )
    work = open_folder(place + "/.packing")
    request = changed(change, after_three_shards[0], work)
    before = contents(work), contents(open_folder(place))
    with pytest.raises(PackError, match=f"holds 3 finished shards .*{told}.* with --force to sta"):
        run(request, place, tmp_path)
    assert (contents(work), contents(open_folder(place))) == before
    assert run(request, place, tmp_path, force=True).shards_taken == 0
    assert_nothing_is_left(place, tmp_path)
