import errno
import os
import signal

import pytest

from data_shards.errors import PackError, UnwritableError, WorkerDiedError
from data_shards.packing.shortage import sharing_the_machine, writing


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "a/b cannot be written: No space left on device; make room"),
        (errno.EACCES, "a/b cannot be written: Permission denied; make room or ask for the right"),
        (errno.EMFILE, "no more files to be open at once; use fewer --processes"),
        (errno.EEXIST, "a/b is a file, where a folder must be; choose another folder"),
        (errno.ENOTDIR, "a/b is a file, where a folder must be; choose another folder"),
        (errno.EISDIR, "a/b is a folder, where a file must be; choose another folder"),
    ],
)
def test_says_what_keeps_from_writing(number, told):
    with pytest.raises(PackError, match=told) as caught, writing("elsewhere"):
        raise OSError(number, os.strerror(number), "a/b")
    assert isinstance(caught.value, UnwritableError) == ("make room" in told)


def test_what_has_no_name_of_its_own_is_called_as_the_writer_says():
    with pytest.raises(UnwritableError, match="here cannot be written: Input"), writing("here"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_want_of_memory_and_of_files_is_laid_to_the_number_of_packers():
    with pytest.raises(PackError, match="memory; use fewer --processes"), sharing_the_machine():
        raise MemoryError
    with pytest.raises(PackError, match="open at once; use fewer"), sharing_the_machine():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with pytest.raises(OSError, match="Input"), sharing_the_machine():
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGSEGV, 1])
def test_a_packer_that_was_killed_may_have_taken_too_much_memory(code):
    with pytest.raises(WorkerDiedError) as caught, sharing_the_machine():
        raise WorkerDiedError(7, code)
    notes = getattr(caught.value, "__notes__", [])
    assert [note.endswith("use fewer --processes or a smaller --size") for note in notes] == (
        [True] if code == -signal.SIGKILL else []
    )
