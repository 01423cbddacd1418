import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.trainer.compiler import needs_compiler
from trainer.kernels import library


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    yield
    library.load.cache_clear()


def _built(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "alexnet-training-service" / "kernels").iterdir())


@needs_compiler
def test_a_kernel_is_built_once(tmp_path: Path) -> None:
    assert isinstance(library.load("early_layer"), ctypes.CDLL)
    (built,) = _built(tmp_path)
    before = built.stat()
    library.load.cache_clear()
    library.load("early_layer")
    assert _built(tmp_path) == [built]
    assert built.stat() == before


@needs_compiler
def test_a_kernel_that_is_cut_short_is_built_again(tmp_path: Path) -> None:
    source = Path(library.__file__).with_name("update_rule.cpp")
    built = library._build(source, library._OPTIONS)
    built.write_bytes(built.read_bytes()[:100])
    assert isinstance(library.load("update_rule"), ctypes.CDLL)
    assert _built(tmp_path) == [built]
    assert built.stat().st_size > 100


def test_without_a_compiler_a_warning_names_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.warns(UserWarning, match=r"early_layer is not used.*none'.*apt-get install g\+\+"):
        assert library.load("early_layer") is None


def test_compilers_of_one_version_do_not_share_what_they_build(tmp_path: Path) -> None:
    source = Path(library.__file__).with_name("update_rule.cpp")
    digests = []
    for name in ("compiler", "wrapper"):
        compiler = tmp_path / name
        compiler.write_text("#!/bin/sh\necho 12.2\n")
        compiler.chmod(0o755)
        digests.append(library._digest(source, str(compiler), ()))
    assert len(set(digests)) == 2
    assert library._digest(source, str(tmp_path / "compiler"), ()) == digests[0]


def test_what_a_failing_compiler_says_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'no such processor' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.warns(UserWarning, match="no such processor"):
        assert library.load("early_layer") is None
    assert _built(tmp_path) == []


def test_a_compiler_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || exec sleep 600\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(library, "_BUILD_TIMEOUT_S", 0.1)
    with pytest.warns(UserWarning, match="early_layer is not used.*timed out"):
        assert library.load("early_layer") is None
    assert _built(tmp_path) == []
