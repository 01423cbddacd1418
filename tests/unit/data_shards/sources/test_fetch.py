import gzip
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_shards.errors import FetchError
from data_shards.sources import fetch
from data_shards.sources.fetch import FILES, fetch_fashion_mnist, find_problem


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """The four files, blank but of the right shapes."""
    folder = tmp_path_factory.mktemp("originals") / "raw"
    folder.mkdir()
    for name, shape in FILES.items():
        header = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
        size = 1
        for edge in shape:
            size *= edge
        (folder / f"{name}.gz").write_bytes(gzip.compress(header + bytes(size), 1))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_takes_a_local_folder_or_one_below_it_once(originals, tmp_path):
    said: list[str] = []
    assert not fetch_fashion_mnist(tmp_path, source=originals.parent, say=said.append)
    assert names(tmp_path) == sorted(f"{name}.gz" for name in FILES)
    assert find_problem(tmp_path) is None
    # Whole already: the folder is not even looked at.
    assert fetch_fashion_mnist(tmp_path, source=Path("/nonexistent"), say=said.append)
    # Cut short: fetched again.
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    assert not fetch_fashion_mnist(tmp_path, source=originals, say=said.append)
    assert find_problem(tmp_path) is None
    assert not said


def test_says_what_a_local_folder_lacks(originals, tmp_path):
    with pytest.raises(FetchError, match=r"no train-images-idx3-ubyte\.gz in it or below"):
        fetch_fashion_mnist(tmp_path / "out", source=tmp_path, say=print)
    partial = Path(shutil.copytree(originals, tmp_path / "partial"))
    (partial / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FetchError, match=r"t10k-images-idx3-ubyte\.gz is not in"):
        fetch_fashion_mnist(tmp_path / "out", source=tmp_path, say=print)
    assert names(tmp_path / "out") == []


class Machine:
    """Stands for a machine's apt-get and dpkg-deb: plays them from a folder, or fails."""

    def __init__(self, originals: Path, *, download: int = 0, package: bool = True) -> None:
        self.originals, self.download, self.package = originals, download, package
        self.commands: list[list[str]] = []

    def run(self, command, *, cwd, **options):
        assert options["stdin"] == subprocess.DEVNULL
        self.commands.append(command)
        if command[0] == "dpkg-deb":
            shutil.copytree(
                self.originals, Path(command[-1]) / "usr" / "share" / "datasets" / "fashion-mnist"
            )
        elif "download" in command:
            if self.package and not self.download:
                (cwd / "dataset-fashion-mnist_1_all.deb").write_bytes(b"")
            return subprocess.CompletedProcess(
                command, self.download, "", "W: odd\nE: Unable to locate package"
            )
        return subprocess.CompletedProcess(command, 0, "", "")


def test_unpacks_debians_package_without_root_and_with_its_own_lists(
    originals, tmp_path, monkeypatch
):
    machine = Machine(originals)
    monkeypatch.setattr(subprocess, "run", machine.run)
    said: list[str] = []
    fetch_fashion_mnist(tmp_path, source=None, say=said.append)
    assert said == ["Fetching Fashion-MNIST from Debian's package"]
    assert names(tmp_path) == sorted(f"{name}.gz" for name in FILES)
    update, download, unpack = machine.commands
    for command in (update, download):
        for directory in ("Dir::State", "Dir::Cache"):
            (option,) = (part for part in command if part.startswith(f"{directory}="))
            assert option.removeprefix(f"{directory}=").startswith(str(tmp_path))
    assert unpack[:2] == ["dpkg-deb", "-x"]


def torchvision_datasets(originals: Path | None) -> SimpleNamespace:
    """Stands for torchvision.datasets; without originals, for one without a network."""

    def fashion_mnist(root, *, download):
        assert download
        if originals is None:
            raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")
        shutil.copytree(originals, root / "FashionMNIST" / "raw")

    return SimpleNamespace(FashionMNIST=fashion_mnist)


def test_turns_to_torchvision_where_there_is_no_apt(originals, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", torchvision_datasets(originals))
    said: list[str] = []
    assert not fetch_fashion_mnist(tmp_path / "out", source=None, say=said.append)
    assert said[1] == "Fetching Fashion-MNIST from torchvision"
    assert find_problem(tmp_path / "out") is None


@pytest.mark.parametrize(
    ("machine", "problem"),
    [
        ({"download": 100}, "apt-get: E: Unable to locate package"),
        ({"package": False}, "apt-get download left no dataset-fashion-mnist"),
    ],
)
def test_tells_all_that_was_tried(originals, tmp_path, monkeypatch, machine, problem):
    monkeypatch.setattr(subprocess, "run", Machine(originals, **machine).run)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", torchvision_datasets(None))
    with pytest.raises(FetchError) as caught:
        fetch_fashion_mnist(tmp_path, source=None, say=lambda line: None)
    message = str(caught.value)
    assert f"Debian's package: {problem}." in message
    assert "torchvision: RuntimeError: Error downloading" in message
    assert "--from" in message
    assert names(tmp_path) == []


def test_apt_that_never_ends_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "_APT_TIMEOUT_S", 0.01)
    with pytest.raises(FetchError, match=r"sleep took more than 0\.01 s"):
        fetch._run(["sleep", "30"], tmp_path)
