"""The same words for folders on disk and in an object store."""

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from data_shards.errors import StorageDeniedError, StorageDownError, StorageError
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.retries import RetryPolicy
from tests.flaky_store import flaky
from tests.object_store import ObjectStore, forget_clients

CONTENT = bytes(range(256)) * 5


@pytest.fixture(params=["path", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "path":
        return open_folder(tmp_path / "folder")
    if request.param == "memory":
        return open_folder(f"memory://{tmp_path.name}/folder")
    return open_folder(f"{request.getfixturevalue('bucket')}/some/folder/")


def test_what_is_put_can_be_read_whole_in_part_and_as_a_stream(
    folder: Folder, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    folder.put(source, "a.bin")
    folder.put_bytes(b"", "empty")
    folder.put_bytes(b"first", "b")
    folder.put_bytes(b"second", "b")
    folder.put_bytes(b"deep", "below/c")

    assert folder.names() == ["a.bin", "b", "empty"]
    assert folder.read_bytes("a.bin", len(CONTENT)) == CONTENT
    assert folder.read_bytes("empty", 0) == b""
    assert folder.read_bytes("b", 100) == b"second"
    assert folder.read_bytes("below/c", 100) == b"deep"
    assert folder.read_range("a.bin", 250, 700) == CONTENT[250:950]
    assert folder.size("a.bin") == len(CONTENT)
    with folder.open("a.bin") as file:
        assert file.read(3) == CONTENT[:3]
        assert file.seek(-5, 2) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        assert file.read() == b""
        assert file.seek(7) == 7
        assert file.read(1) == CONTENT[7:8]


def test_a_file_that_is_not_there_has_the_builtin_error(folder: Folder) -> None:
    assert not folder.exists("a")
    assert folder.names() == []
    for read in (
        lambda: folder.read_bytes("a", 10),
        lambda: folder.read_range("a", 0, 1),
        lambda: folder.open("a"),
        lambda: folder.size("a"),
    ):
        with pytest.raises(FileNotFoundError, match="a"):
            read()
    folder.delete("a")
    folder.put_bytes(b"x", "a")
    assert folder.exists("a")
    folder.delete("a")
    assert not folder.exists("a")


def test_a_folder_is_no_file(folder: Folder) -> None:
    folder.put_bytes(b"x", "below/a")
    assert not folder.exists("below")
    with pytest.raises((FileNotFoundError, StorageError)):
        folder.read_bytes("below", 10)


def test_what_is_larger_than_allowed_or_ends_early_is_named(folder: Folder) -> None:
    folder.put_bytes(CONTENT, "a")
    with pytest.raises(StorageError, match=r"folder/a holds 1280 bytes, more than the 1279"):
        folder.read_bytes("a", len(CONTENT) - 1)
    fast = RetryPolicy(tries=2, first_s=0, longest_s=0)
    with pytest.raises(StorageError, match="folder/a "):
        open_folder(folder.location, fast).read_range("a", 1270, 20)


def test_a_tar_streams_from_any_folder(folder: Folder) -> None:
    tar_bytes = BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        member = tarfile.TarInfo("x")
        member.size = len(CONTENT)
        tar.addfile(member, BytesIO(CONTENT))
    folder.put_bytes(tar_bytes.getvalue(), "x.tar")
    with folder.open("x.tar") as file, tarfile.open(fileobj=file) as tar:
        content = tar.extractfile("x")
        assert content is not None
        assert content.read() == CONTENT


def test_a_store_that_is_down_is_named_after_every_try(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A port nobody listens on.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    folder = open_folder(bucket, RetryPolicy(tries=3, first_s=0, longest_s=0))
    with pytest.raises(
        StorageDownError, match=rf"^{bucket}/a could not be read after 3 tries in \d+ s: .*; see"
    ):
        folder.size("a")


def test_a_store_that_drips_is_given_up(
    object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(bucket).put_bytes(CONTENT * 10, "a")
    with flaky(object_store, seed=0) as (proxy, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        # The first question of all makes the driver's client, which on a busy machine is a second.
        assert open_folder(bucket).exists("a")
        faults.drips = True
        policy = RetryPolicy(tries=2, first_s=0, longest_s=0, answer_s=1)
        with pytest.raises(
            StorageDownError, match=r"/a could not be read after 2 tries .*no whole answer within 1"
        ):
            open_folder(bucket, policy).read_range("a", 0, len(CONTENT) * 10)
        assert faults.counted["drip"] == 2
    forget_clients()


def test_no_try_begins_when_the_time_is_up(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    policy = RetryPolicy(tries=9, first_s=0.2, longest_s=10, total_s=0.05)
    with pytest.raises(StorageDownError, match=r"after 1 try in \d+ s"):
        open_folder(bucket, policy).size("a")
    forget_clients()


def test_a_store_without_credentials_is_not_asked_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_clients()
    with pytest.raises(StorageError, match="credentials could not be had") as caught:
        open_folder(bucket).size("a")
    assert not isinstance(caught.value, StorageDownError)


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(StorageError, match="needs the package gcsfs; install it: pip install gcs"):
        open_folder("gs://bucket/a")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/a cannot be written: .*; make room"):
        open_folder(tmp_path / "file").put_bytes(b"x", "a")


def test_local_folders_do_not_wait_for_fsspec() -> None:
    program = (
        "import sys; from data_shards.storage.folder import open_folder; open_folder('/tmp');"
        "assert not {'fsspec', 's3fs', 'asyncio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_store_that_sends_elsewhere_is_not_followed(
    object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(bucket).put_bytes(CONTENT, "a")
    with (
        flaky(object_store, seed=0) as (proxy, faults),
        flaky(object_store, seed=0) as (elsewhere, others),
    ):
        faults.redirect_to = elsewhere.endpoint
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        folder = open_folder(bucket)
        for read in (lambda: folder.size("a"), lambda: folder.read_range("a", 0, 9), folder.names):
            faults.asked.clear()
            with pytest.raises(StorageError, match=r"cannot be .*: it sends readers to another"):
                read()
            # Twice at most: botocore asks where the bucket is.
            assert len(faults.asked) <= 2
        assert faults.counted["redirect"] > 0
        assert others.asked == []
    forget_clients()


@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"]
)
def test_who_is_not_let_in_asks_once_and_is_told_so(
    object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    with flaky(object_store, seed=0) as (proxy, faults):
        faults.denied_by = code
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        folder = open_folder(bucket)
        for ask in (
            lambda: folder.size("a"),
            lambda: folder.read_range("a", 0, 9),
            lambda: folder.put_bytes(b"a", "a"),
            folder.names,
        ):
            faults.asked.clear()
            with pytest.raises(StorageDeniedError, match=r"access was denied .*credentials"):
                ask()
            assert len(faults.asked) == 1
    forget_clients()
