import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.checkpoints.retention import clear_leftovers, prune
from trainer.contract.checkpoint_folder import list_folders, verify
from trainer.contract.lineage import step_of
from trainer.contract.pins import pin, unpin
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import CheckpointSpec


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_prune_deletes_over_attempts_but_not_where_this_one_began(run: RunDirectory) -> None:
    first = add_attempt(run)
    folders = [add_checkpoint(first, step) for step in (1, 2, 3)]
    second = add_attempt(run, resume_from=folders[2])
    later = [add_checkpoint(second, step) for step in (4, 5)]
    prune(second, CheckpointSpec(keep_last=1), resumed_from=folders[2])
    assert list_folders(run) == [later[1], folders[2]]
    assert not any(folder.exists() for folder in (*folders[:2], later[0]))


@pytest.mark.parametrize(
    "clear", [clear_leftovers, lambda attempt: prune(attempt, CheckpointSpec(), resumed_from=None)]
)
def test_what_death_left_half_done_is_cleared(
    run: RunDirectory, clear: Callable[[AttemptDirectory], None]
) -> None:
    attempt = add_attempt(run)
    whole = add_checkpoint(attempt, 1)
    for name in (".step-00000002.partial", ".step-00000000.deleted"):
        (attempt.checkpoints / name).mkdir()
        (attempt.checkpoints / name / "model.safetensors").write_bytes(b"half")
    clear(attempt)
    assert list(attempt.checkpoints.iterdir()) == [whole]


def test_files_that_death_left_half_written_are_cleared_of_earlier_attempts(
    run: RunDirectory,
) -> None:
    attempts = [add_attempt(run) for _ in range(3)]
    halves = [one.path / ".failure-1.json.17.partial" for one in attempts]
    written = [one.checkpoints / ".step-00000002.partial" for one in attempts]
    for half, folder in zip(halves, written, strict=True):
        half.write_text("{")
        folder.mkdir(parents=True)
    # By the second, which is found to be stale too late.
    clear_leftovers(attempts[1])
    assert [half.exists() for half in halves] == [False, True, True]
    assert [folder.exists() for folder in written] == [False, False, True]
    assert attempts[0].order.exists()


@pytest.mark.parametrize("name", [".step-00000002.partial", ".step-00000002.deleted"])
def test_what_cannot_be_deleted_ends_no_attempt_and_holds_up_nothing_else(
    run: RunDirectory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    attempt = add_attempt(run)
    first, second, last = [add_checkpoint(attempt, step) for step in (4, 5, 6)]
    stuck, other = attempt.checkpoints / name, attempt.checkpoints / ".step-00000003.partial"
    for leftover in (stuck, other):
        leftover.mkdir()
    remove = shutil.rmtree

    def refuse(folder: Path) -> None:
        if folder in {stuck, second.with_name(f".{second.name}.deleted")}:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(folder))
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    prune(attempt, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [last]
    assert not other.exists()
    assert not first.exists()
    assert f"{stuck} cannot be deleted now" in caplog.text
    assert f"{second} cannot be deleted now" in caplog.text


def test_one_that_cannot_be_read_now_is_left(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = add_attempt(run)
    away, _, last = [add_checkpoint(attempt, step) for step in (1, 2, 3)]
    read = Path.read_bytes

    def refuse(file: Path) -> bytes:
        if file.parent == away:
            raise OSError(errno.ESTALE, "Stale file handle", str(file))
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    prune(attempt, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [last, away]


def test_prune_leaves_a_damaged_one_as_evidence(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    damaged, *_, last = [add_checkpoint(attempt, step) for step in (1, 2, 3)]
    (damaged / "checkpoint.json").write_text("{")
    prune(attempt, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [last, damaged]


def test_what_a_newer_attempt_began_with_stays(run: RunDirectory) -> None:
    first = add_attempt(run)
    folders = [add_checkpoint(first, step) for step in (1, 2, 3)]
    second = add_attempt(run, resume_from=folders[0])
    later = add_checkpoint(second, 4)
    # By the attempt that is no longer current, and found that out too late.
    prune(first, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [later, folders[0]]


def test_nothing_is_deleted_where_the_newest_order_cannot_be_read(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    first = add_attempt(run)
    folders = [add_checkpoint(first, step) for step in (3, 2, 1)]
    leftover = first.checkpoints / ".step-00000004.partial"
    leftover.mkdir()
    order = add_attempt(run, resume_from=folders[0]).order
    whole = order.read_bytes()
    order.write_text('{"token": "secret')
    prune(first, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == folders
    assert leftover.exists()
    assert "no checkpoint is deleted" in caplog.text
    assert "secret" not in caplog.text
    order.write_bytes(whole)
    prune(first, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == folders[:1]


def test_a_newer_attempt_without_an_order_holds_up_nobody(run: RunDirectory) -> None:
    first = add_attempt(run)
    folders = [add_checkpoint(first, step) for step in (2, 1)]
    run.attempt(2).path.mkdir()
    prune(first, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == folders[:1]


def test_a_pinned_one_stays_until_it_is_unpinned(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    first, _, third = [add_checkpoint(attempt, step) for step in (1, 2, 3)]
    pin(first)
    prune(attempt, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [third, first]
    unpin(first)
    prune(attempt, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [third]


class Retention(RuleBasedStateMachine):
    """Attempts that save, die and go on, pins that come and go: against what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.run_directory = RunDirectory(Path(self.folder.name) / "run")
        self.spec = CheckpointSpec(keep_last=2)
        self.top1s: dict[int, float | None] = {}
        self.pinned: set[int] = set()
        self.ever_pinned: set[int] = set()
        self.step = 0
        self.resumed_from: Path | None = None
        self.attempt = add_attempt(self.run_directory)

    def teardown(self) -> None:
        self.folder.cleanup()

    def there(self) -> list[int]:
        return [step_of(str(folder)) for folder in list_folders(self.run_directory)]

    @rule(top1=st.none() | st.sampled_from([0.1, 0.5, 0.9]))
    def save(self, top1: float | None) -> None:
        self.step += 1
        add_checkpoint(self.attempt, self.step, top1=top1)
        self.top1s[self.step] = top1
        prune(self.attempt, self.spec, self.resumed_from)

    @precondition(lambda self: self.there())
    @rule()
    def go_on(self) -> None:
        self.resumed_from = list_folders(self.run_directory)[0]
        self.attempt = add_attempt(self.run_directory, resume_from=self.resumed_from)

    @precondition(lambda self: self.there())
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(self.there()))
        assert pin(self._folder(step))
        self.pinned.add(step)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.pinned)))
        assert unpin(self._folder(step))
        self.pinned.remove(step)
        self.ever_pinned.add(step)

    def _folder(self, step: int) -> Path:
        (found,) = (
            folder for folder in list_folders(self.run_directory) if step_of(str(folder)) == step
        )
        return found

    @invariant()
    def what_must_be_there_is_whole(self) -> None:
        there = self.there()
        needed = {*self.pinned, *range(max(self.step - 1, 1), self.step + 1)}
        if self.resumed_from is not None:
            needed.add(step_of(str(self.resumed_from)))
        assert needed <= set(there)
        judged = [top1 for step in there if (top1 := self.top1s[step]) is not None]
        known = [top1 for top1 in self.top1s.values() if top1 is not None]
        assert max(judged, default=None) == max(known, default=None)
        # Two latest, the best, those that attempts began with; what was unpinned may wait.
        assert len(there) <= 2 + 1 + 1 + len(self.pinned | self.ever_pinned) + 1
        for folder in list_folders(self.run_directory):
            verify(folder)


TestRetention = Retention.TestCase
TestRetention.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
