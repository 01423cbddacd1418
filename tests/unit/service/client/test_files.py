import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client.client import Client
from service.client.download import DownloadError, download_checkpoint
from service.client.errors import ProblemError, ServiceUnreachableError
from service.client.outage import Outage
from service.control_plane import ControlPlane
from service.views.files import LogText
from tests.unit.service.api.test_checkpoints import begin
from tests.unit.service.api.test_logs import begin_again, end, fail, write
from tests.unit.service.conftest import free_port, job_in, serving
from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.unit.service.world import World
from trainer.contract.checkpoint_folder import verify
from trainer.contract.retention import KeptBecause
from trainer.contract.status import Status


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    with Client(plane.settings.advertised_url) as client:
        yield client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and only where something has come since."""
    monkeypatch.setattr("service.client.outage.RECONNECT_PAUSE_S", 0.0)
    monkeypatch.setattr("service.client.outage.RECONNECT_FOR_S", 0.0)


@pytest.fixture(scope="module")
def saved(plane: ControlPlane) -> World:
    """A job `saved` that runs, with checkpoints after 10 and 20 steps."""
    world = World(plane.settings.state_dir, plane.store)
    job_in(plane.store, Status.RUNNING, "saved")
    begin(world, "saved")
    for step in (10, 20):
        world.checkpoint(step, job_id="saved")
    return world


def texts(found: Iterator[LogText]) -> str:
    return "".join(one.text for one in found)


def test_what_was_printed_is_read(client: Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "read")
    assert texts(client.logs("read")) == ""
    write(plane, "read", b"one\ntwo")
    begin_again(plane, "read")
    write(plane, "read", b"three\n", 2)
    assert texts(client.logs("read")) == "three\n"
    assert texts(client.logs("read", attempt=1)) == "one\ntwo"
    assert [one.attempt for one in client.logs("read", attempt="all", tail=2)] == [1, 2]
    begin_again(plane, "read")
    # Lines to Unicode, and not to a stream of events.
    write(plane, "read", "a\u2028b\x85c\n".encode(), 3)
    assert texts(client.logs("read")) == "a\u2028b\x85c\n"
    for ask in (client.logs, client.follow_logs):
        with pytest.raises(ProblemError):
            next(ask("nosuchjob"))


def test_following_survives_a_restart_of_the_service(plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "outlives")
    write(plane, "outlives", b"one\n")
    port = free_port()
    update = {"port": port, "advertised_url": f"http://127.0.0.1:{port}"}
    first = ControlPlane(plane.settings.model_copy(update=update), token=None)
    with serving(first) as url:
        client = Client(url)
        seen = client.follow_logs("outlives")
        assert next(seen).text == "one\n"
    first.stop()
    write(plane, "outlives", b"two\n")
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(one.text for one in seen))
    reader.start()
    second = ControlPlane(plane.settings.model_copy(update=update), token=None)
    with serving(second):
        write(plane, "outlives", b"three\n")
        end(plane, "outlives")
        reader.join(20)
    second.stop()
    client.close()
    assert "".join(rest) == "two\nthree\n"


def test_following_survives_a_disk_that_is_back(
    client: Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(plane.store, Status.RUNNING, "flaky")
    write(plane, "flaky", b"one\n")
    seen = client.follow_logs("flaky")
    assert next(seen).text == "one\n"

    def come_back(_: Outage) -> bool:
        monkeypatch.undo()
        write(plane, "flaky", b"two\n")
        end(plane, "flaky")
        return True

    monkeypatch.setattr("service.client.outage.Outage.go_on", come_back)
    monkeypatch.setattr("service.run_files.content.open_file", fail)
    assert texts(seen) == "two\n"


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_stays_away_is_told_of(
    client: Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(plane.store, Status.RUNNING, "away")
    write(plane, "away", b"one\n")
    monkeypatch.setattr("service.run_files.content.open_file", fail)
    for ask in (client.logs, client.follow_logs):
        with pytest.raises(ProblemError, match="bring back the disk") as told:
            list(ask("away"))
        assert told.value.problem.type.endswith("disk-unavailable")


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_away_is_told_of(tmp_path: Path) -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ServiceUnreachableError):
            list(client.follow_logs("any"))
        with pytest.raises(ServiceUnreachableError):
            download_checkpoint(client, "any", 1, tmp_path / "a.tar")


def test_checkpoints_are_pinned_and_deleted(client: Client, plane: ControlPlane) -> None:
    world = World(plane.settings.state_dir, plane.store)
    job_in(plane.store, Status.RUNNING, "pins")
    begin(world, "pins")
    for step in (1, 2):
        world.checkpoint(step, job_id="pins")
    assert client.pin_checkpoint("pins", 1).is_pinned
    with pytest.raises(ProblemError, match="unpin it first"):
        client.delete_checkpoint("pins", 1)
    assert client.unpin_checkpoint("pins", 1).kept_because == (KeptBecause.LAST,)
    client.delete_checkpoint("pins", 1)
    assert [one.step for one in client.checkpoints("pins")] == [2]
    with pytest.raises(ProblemError) as gone:
        client.pin_checkpoint("pins", 1)
    assert gone.value.problem.status == 404
    listed = client.artifacts("pins")
    assert "attempts/0001/checkpoints/step-00000002/checkpoint.json" in {
        one.path for one in listed.artifacts
    }


def test_a_checkpoint_is_downloaded_as_a_file_or_into_a_folder(
    client: Client, saved: World, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    file = download_checkpoint(
        client, "saved", 10, tmp_path / "a.tar", on_progress=lambda *done: told.append(done)
    )
    assert told[-1] == (file.stat().st_size, file.stat().st_size)
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == "step-00000010/checkpoint.json"
    folder = download_checkpoint(client, "saved", 10, tmp_path)
    assert folder == tmp_path / "step-00000010"
    verify(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "step-00000010"}
    with pytest.raises(DownloadError, match="there already"):
        download_checkpoint(client, "saved", 10, tmp_path)


def test_a_download_goes_on_where_it_broke_off(
    client: Client, saved: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.outage.RECONNECT_PAUSE_S", 0.0)
    whole = download_checkpoint(client, "saved", 20, tmp_path / "whole.tar").read_bytes()
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        start, _, stop = request.headers["range"].removeprefix("bytes=").partition("-")
        asked.append(start)
        part = whole[int(start) : int(stop) + 1 if stop else len(whole)]
        headers = {"ETag": '"tag"', "Content-Range": f"bytes {start}-/{len(whole)}"}
        match len(asked):
            case 2:
                return Answer(206, part[:1000], headers)
            case 3:
                raise ConnectionError
            case 4 | 5:
                # A proxy before a service that begins again.
                return Answer(500 + len(asked) - 2)
        return Answer(206, part, headers)

    with StubServer(answer) as stub, Client(stub.url) as far:
        found = download_checkpoint(far, "saved", 20, tmp_path / "far.tar")
    assert found.read_bytes() == whole
    assert asked == ["0", "0", *["1000"] * 4]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [404, 503])
def test_a_download_that_is_refused_is_told_of(tmp_path: Path, status: int) -> None:
    def answer(_request: Request) -> Answer:
        if len(stub.requests) > 1:
            return Answer(status)
        return Answer(206, b"0", {"ETag": '"tag"', "Content-Range": "bytes 0-/9"})

    with (
        StubServer(answer) as stub,
        Client(stub.url) as far,
        pytest.raises(ProblemError, match=str(status)),
    ):
        download_checkpoint(far, "saved", 20, tmp_path / "far.tar")
    assert (len(stub.requests) > 2) is (status == 503)


def test_what_was_damaged_on_its_way_is_not_kept(
    client: Client, saved: World, tmp_path: Path
) -> None:
    whole = download_checkpoint(client, "saved", 20, tmp_path / "whole.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        place = tar.getmember("step-00000020/model.safetensors").offset_data
    damaged = whole[:place] + b"!" + whole[place + 1 :]

    def answer(request: Request) -> Answer:
        start, _, stop = request.headers["range"].removeprefix("bytes=").partition("-")
        part = damaged[int(start) : int(stop) + 1 if stop else len(whole)]
        headers = {"ETag": '"tag"', "Content-Range": f"bytes {start}-/{len(whole)}"}
        return Answer(206, part, headers)

    with (
        StubServer(answer) as stub,
        Client(stub.url) as far,
        pytest.raises(DownloadError, match=r"model\.safetensors does not have the sha256"),
    ):
        download_checkpoint(far, "saved", 20, tmp_path / "far.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.tar"]
