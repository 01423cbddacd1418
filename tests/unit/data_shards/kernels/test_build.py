import ctypes
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_shards.kernels import build
from data_shards.user_cache import KERNELS_VARIABLE
from tests.compiler import needs_compiler

SOURCE = '#include "lanes.h"\nextern "C" int answer() { return ANSWER; }\n'
OPTIONS = ("-DANSWER=42",)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A kernel, and an empty cache."""
    monkeypatch.delenv(KERNELS_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load_kernel.cache_clear()
    file = tmp_path / "answering.cpp"
    file.write_text(SOURCE)
    yield file
    build.load_kernel.cache_clear()


def load(source: Path) -> ctypes.CDLL | None:
    return build.load_kernel(source, options=OPTIONS)


def built_in(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "alexnet-training-service" / "kernels").iterdir())


@needs_compiler
def test_a_kernel_is_built_once(source, tmp_path):
    library = load(source)
    assert library is not None
    assert library.answer() == 42
    (built,) = built_in(tmp_path)
    before = built.stat()
    build.load_kernel.cache_clear()
    load(source)
    assert built_in(tmp_path) == [built]
    assert built.stat() == before


@needs_compiler
def test_other_options_make_another_library(source, tmp_path):
    load(source)
    library = build.load_kernel(source, options=("-DANSWER=43",))
    assert library is not None
    assert library.answer() == 43
    assert len(built_in(tmp_path)) == 2


@needs_compiler
def test_a_kernel_that_is_cut_short_is_built_again(source, tmp_path):
    built = build._build(source, (*build._OPTIONS, *OPTIONS), ())
    built.write_bytes(built.read_bytes()[:100])
    assert isinstance(load(source), ctypes.CDLL)
    assert built_in(tmp_path) == [built]
    assert built.stat().st_size > 100


@needs_compiler
def test_of_many_that_want_a_kernel_at_once_one_builds_it(monkeypatch, source, tmp_path):
    calls = tmp_path / "calls"
    compiler = tmp_path / "compiler"
    real = shutil.which(os.environ.get("CXX", "g++"))
    # It tells its version too.
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo >> {calls}\nexec {real} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with ThreadPoolExecutor(4) as threads:
        options = (*build._OPTIONS, *OPTIONS)
        built = set(threads.map(lambda _: build._build(source, options, ()), range(4)))
    assert built == set(built_in(tmp_path))
    assert calls.read_text() == "\n"


@needs_compiler
def test_who_builds_for_ever_is_not_waited_for(monkeypatch, source, tmp_path):
    monkeypatch.setattr(build, "_BUILD_TIMEOUT_S", 0.1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with build._alone(tmp_path):
        pass
    os.close(descriptor)


def test_without_a_compiler_a_warning_names_the_mend(monkeypatch, source, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.warns(UserWarning, match=r"answering is not used.*none'.*apt-get install g\+\+"):
        assert load(source) is None


def test_compilers_of_one_version_do_not_share_what_they_build(source, tmp_path):
    digests = []
    for name in ("compiler", "wrapper"):
        compiler = tmp_path / name
        compiler.write_text("#!/bin/sh\necho 12.2\n")
        compiler.chmod(0o755)
        digests.append(build._digest(source, str(compiler), ()))
    assert len(set(digests)) == 2
    assert build._digest(source, str(tmp_path / "compiler"), ()) == digests[0]


def test_a_machine_that_hides_its_processors_has_no_features_that_are_known(
    monkeypatch, source, tmp_path
):
    monkeypatch.setattr(build, "_PROCESSORS", tmp_path / "cpuinfo")
    assert build.processor_features() == platform.processor()
    (tmp_path / "cpuinfo").write_text("processor: 0\nflags: fpu avx2\nflags: fpu avx2\n")
    assert build.processor_features() == "flags: fpu avx2"


@needs_compiler
def test_a_kernel_is_built_where_processors_are_hidden(monkeypatch, source, tmp_path):
    monkeypatch.setattr(build, "_PROCESSORS", tmp_path / "cpuinfo")
    assert load(source) is not None


def test_what_a_failing_compiler_says_is_told_and_leaves_nothing(monkeypatch, source, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'no such processor' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.warns(UserWarning, match="no such processor"):
        assert load(source) is None
    assert built_in(tmp_path) == []


def test_a_compiler_that_does_not_end_is_given_up(monkeypatch, source, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || exec sleep 600\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(build, "_BUILD_TIMEOUT_S", 0.1)
    with pytest.warns(UserWarning, match="answering is not used.*timed out"):
        assert load(source) is None
    assert built_in(tmp_path) == []
