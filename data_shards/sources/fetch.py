"""Fetching Fashion-MNIST: from a local folder, Debian's package, or torchvision."""

import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from data_shards.errors import FetchError, SourceError
from data_shards.sources.idx import find_idx, read_idx

# The four files and what each holds.
FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
_PACKAGE = "dataset-fashion-mnist"
_APT_TIMEOUT_S = 300


def fetch_fashion_mnist(out: Path, *, source: Path | None, say: Callable[[str], None]) -> bool:
    """Put the four idx files into `out`; return whether they were there already.

    From the folder `source`, or one below it, if given; else from Debian's package, unpacked
    without root; else by torchvision. `say` hears what is being tried. Raises FetchError.
    """
    if find_problem(out) is None:
        return True
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=out) as name:
        work = Path(name)
        found = _from_folder(source) if source else _from_network(work, say)
        for file in FILES:
            path = find_idx(found, file)
            assert path is not None, "the folder was checked"
            # Copied beside the target first, so that a file appears whole or not at all.
            shutil.copyfile(path, work / path.name)
            (work / path.name).replace(out / path.name)
    return False


def find_problem(folder: Path) -> str | None:
    """Return what a folder lacks of the four files, read in full; None if they are all right."""
    for file, shape in FILES.items():
        path = find_idx(folder, file)
        if path is None:
            return f"{file}.gz is not in {folder}"
        try:
            values = read_idx(path, num_dimensions=len(shape))
        except SourceError as error:
            return str(error)
        if values.shape != shape:
            return f"{path} holds {values.shape}, not {shape}"
    return None


def _from_folder(source: Path) -> Path:
    first = next(iter(FILES))
    folders = sorted({path.parent for path in source.rglob(f"{first}*")})
    problems = []
    for folder in folders:
        problem = find_problem(folder)
        if problem is None:
            return folder
        problems.append(problem)
    raise FetchError(
        f"{source} does not hold Fashion-MNIST: "
        + ("; ".join(problems) or f"there is no {first}.gz in it or below")
    )


def _from_network(work: Path, say: Callable[[str], None]) -> Path:
    failures = []
    for title, attempt in (("Debian's package", _from_debian), ("torchvision", _from_torchvision)):
        say(f"Fetching Fashion-MNIST from {title}")
        try:
            folder = attempt(work)
        except FetchError as error:
            failures.append(f"{title}: {error}")
            continue
        problem = find_problem(folder)
        if problem is None:
            return folder
        failures.append(f"{title}: {problem}")
    raise FetchError(
        "Fashion-MNIST could not be fetched. "
        + " ".join(f"{failure}." for failure in failures)
        + " Download its four idx .gz files elsewhere and name their folder with --from."
    )


def _from_debian(work: Path) -> Path:
    """Download and unpack the package with apt's lists and caches in a folder of our own."""
    state, cache, tree = work / "apt-state", work / "apt-cache", work / "tree"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial", tree):
        folder.mkdir(parents=True)
    options = {
        "Dir::State": state,
        "Dir::Cache": cache,
        # As root apt would hand over to a user who may not write here.
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    arguments = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    # Its exit code is of no interest: a source of other packages may be out of reach.
    _run(["apt-get", *arguments, "-q", "update"], work, check=False)
    _run(["apt-get", *arguments, "-q", "download", _PACKAGE], work)
    package = next(work.glob(f"{_PACKAGE}_*.deb"), None)
    if package is None:
        raise FetchError(f"apt-get download left no {_PACKAGE}")
    _run(["dpkg-deb", "-x", str(package), str(tree)], work)
    return tree / "usr" / "share" / "datasets" / "fashion-mnist"


def _run(command: list[str], folder: Path, *, check: bool = True) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_APT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise FetchError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"{command[0]} took more than {_APT_TIMEOUT_S} s") from None
    if check and done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise FetchError(f"{command[0]}: {lines[-1]}")


def _from_torchvision(work: Path) -> Path:
    try:
        # Imported here alone: it brings torch.
        datasets = importlib.import_module("torchvision.datasets")
        datasets.FashionMNIST(work / "torchvision", download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise FetchError(f"{type(error).__name__}: {error}") from error
    return work / "torchvision" / "FashionMNIST" / "raw"
