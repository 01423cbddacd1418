"""Environments of their own for contenders that the product must not depend on; made once."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class UnavailableError(Exception):
    """Why a contender cannot be installed here."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is installed, in steps: a later one may be built with what an earlier one brought."""

    name: str
    module: str
    """What can be imported when all is well."""
    steps: tuple[tuple[str, ...], ...]
    libraries: tuple[str, ...] = ()
    """What pkg-config must find to build it."""
    mend: str = ""
    """What to do where it does not."""


DALI = Environment(
    name="dali",
    module="nvidia.dali",
    steps=(("nvidia-dali-cuda130==2.4.0", "numpy==2.4.6"),),
)
FFCV = Environment(
    name="ffcv",
    module="ffcv",
    steps=(
        ("numpy==2.2.6", "pillow==13.0.0", "torch==2.13.0"),
        ("setuptools==84.2.1", "wheel==0.48.0"),
        ("--no-build-isolation", "ffcv==1.0.2"),
    ),
    libraries=("opencv4", "libturbojpeg"),
    mend="install Debian's libopencv-dev, libturbojpeg0-dev and pkg-config",
)


def python_of(environment: Environment, below: Path) -> Path:
    """Return the interpreter of an environment, which is made if need be.

    Raises UnavailableError.
    """
    folder = below / environment.name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = repr(environment.steps)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    _check_libraries(environment)
    uv = str(Path(sys.executable).parent / "uv")
    shutil.rmtree(folder, ignore_errors=True)
    _run([uv, "venv", "--python", sys.executable, str(folder)])
    for step in environment.steps:
        _run([uv, "pip", "install", "--python", str(python), *step])
    _run([str(python), "-c", f"import {environment.module}"])
    stamp.write_text(wanted)
    return python


def _check_libraries(environment: Environment) -> None:
    if not environment.libraries:
        return
    try:
        subprocess.run(["pkg-config", "--exists", *environment.libraries], check=True)
    except (OSError, subprocess.CalledProcessError):
        raise UnavailableError(
            f"needs {' and '.join(environment.libraries)}: {environment.mend}"
        ) from None


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["nothing"]
        name = Path(command[0]).name
        raise UnavailableError(f"{name} {command[1]} said: {said[-1].strip()}") from error
