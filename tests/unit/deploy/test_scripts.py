"""The shell scripts: nothing that shellcheck warns of."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SHEBANGS = (b"#!/bin/sh", b"#!/usr/bin/env bash")
SCRIPTS = [
    path
    for folder in ("deploy", ".ci")
    for path in sorted((REPOSITORY / folder).iterdir())
    if path.is_file() and path.read_bytes().startswith(SHEBANGS)
]


def test_all_scripts_are_found() -> None:
    assert {"make-base-image", "install-lock", "ray-node", "run"} <= {path.name for path in SCRIPTS}


# In CI the test fails without it, so that a missing install step shows.
@pytest.mark.skipif(
    shutil.which("shellcheck") is None and "CI" not in os.environ,
    reason="shellcheck is not installed (Debian: apt-get install shellcheck)",
)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    checked = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
