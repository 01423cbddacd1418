"""One engine and one stack of containers for all tests of this folder."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.acceptance.compose.engine import NoEngineError, engine, missing_programs
from tests.acceptance.compose.processes import execute
from tests.acceptance.compose.stack import Stack, compose_command, running

BASE_IMAGE = "alexnet-base:bookworm"


def _unavailable(reason: str) -> NoReturn:
    # A CI that cannot run these tests must not look as if it had.
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    compose = compose_command()
    if compose is None:
        _unavailable("Docker Compose is not installed (Debian: apt-get install docker-compose)")
    if missing := missing_programs("curl"):
        _unavailable(f"{', '.join(missing)} is not installed")
    base_image = os.environ.get("BASE_IMAGE")
    if base_image is None and (os.geteuid() != 0 or missing_programs("debootstrap")):
        _unavailable(
            "only root, with debootstrap, can make the base image; where an image registry is "
            "reached, set BASE_IMAGE=python:3.11-slim-bookworm"
        )
    with contextlib.ExitStack() as opened:
        try:
            environment = opened.enter_context(engine())
        except NoEngineError as error:
            _unavailable(str(error))
        if base_image is None:
            base_image = BASE_IMAGE
            execute("deploy/make-base-image", base_image, timeout_s=300, environment=environment)
        project = f"alexnet-test-{secrets.token_hex(4)}"
        yield opened.enter_context(
            running(Stack(compose, {**environment, "BASE_IMAGE": base_image}, project))
        )
