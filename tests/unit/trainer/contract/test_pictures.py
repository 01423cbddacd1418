import json
import os
from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt
from trainer.contract.model_spec import MAX_NUM_CLASSES
from trainer.contract.pictures import (
    CLASSES_NAME,
    INDEX_NAME,
    ClassCount,
    ClassCounts,
    StepPictures,
    classes_of,
    pictures_of,
)
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _draw(attempt: AttemptDirectory, *steps: int) -> None:
    for step in steps:
        folder = attempt.pictures_at(step)
        folder.mkdir(parents=True)
        pictures = StepPictures(attempt=attempt.number, step=step, epoch=step / 10)
        (folder / INDEX_NAME).write_text(pictures.model_dump_json())


def _seen(run: RunDirectory, attempts: list[int] | None = None) -> list[tuple[int, int]]:
    return [(one.step, one.attempt) for one in pictures_of(run, attempts)]


def test_a_run_that_was_never_drawn_has_no_pictures(run: RunDirectory) -> None:
    assert _seen(run) == []
    add_attempt(run)
    assert _seen(run) == []


def test_what_later_attempts_did_not_go_on_from_is_left_out(run: RunDirectory) -> None:
    first = add_attempt(run)
    _draw(first, 10, 20, 30)
    second = add_attempt(run, resume_from=first.checkpoint(20))
    _draw(second, 25, 40)
    assert _seen(run) == [(10, 1), (20, 1), (25, 2), (40, 2)]
    assert _seen(run, [1]) == [(10, 1), (20, 1), (30, 1)]
    # One that begins anew leaves nothing of those before.
    _draw(add_attempt(run), 10)
    assert _seen(run) == [(10, 3)]


def test_of_a_step_that_two_attempts_drew_the_later_counts(run: RunDirectory) -> None:
    first = add_attempt(run)
    _draw(first, 10)
    _draw(add_attempt(run, resume_from=first.checkpoint(10)), 10, 20)
    assert _seen(run) == [(10, 2), (20, 2)]


def test_what_is_broken_or_half_written_is_left_out(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    _draw(attempt, *range(1, 9))
    index = {step: folder / INDEX_NAME for step, folder in attempt.pictured().items()}
    index[1].write_bytes(index[1].read_bytes()[:-20])
    index[2].unlink()
    index[3].unlink()
    os.mkfifo(index[3])
    index[4].unlink()
    index[4].mkdir()
    index[5].write_text(index[5].read_text().replace('"version":1', '"version":2'))
    index[6].write_bytes(index[7].read_bytes())
    (attempt.pictures / "step-00000007.copy").mkdir()
    (attempt.pictures / "step-00000009").write_text("no folder")
    index[8].write_bytes(index[8].read_bytes() + b" " * (5 << 20))
    assert _seen(run) == [(7, 1)]


def _counts(*rows: tuple[int, int, int]) -> ClassCounts:
    return ClassCounts(
        step=10,
        protocol="centre_crop",
        classes=tuple(
            ClassCount(label=label, name=f"{label}", num_samples=n, right=right, within_five=five)
            for label, (n, right, five) in enumerate(rows)
        ),
        confusion=None,
        worst_pairs=(),
    )


def test_classes_are_read_where_there_are_any(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    file = attempt.pictures_at(10) / CLASSES_NAME
    without = StepPictures(attempt=1, step=10, epoch=1)
    pictures = without.model_copy(update={"classes": str(file.relative_to(run.path))})
    assert classes_of(run, without) is None
    assert classes_of(run, pictures) is None
    file.parent.mkdir(parents=True)
    file.write_text(_counts((4, 2, 3)).model_dump_json())
    assert classes_of(run, pictures) == _counts((4, 2, 3))


def _read_back(run: RunDirectory, content: str) -> ClassCounts | None:
    file = add_attempt(run).pictures_at(10) / CLASSES_NAME
    file.parent.mkdir(parents=True)
    file.write_text(content)
    path = str(file.relative_to(run.path))
    return classes_of(run, StepPictures(attempt=1, step=10, epoch=1, classes=path))


def test_as_many_classes_as_a_network_may_have_are_read_and_no_more(run: RunDirectory) -> None:
    one = ClassCount(
        label=MAX_NUM_CLASSES - 1, name="n" * 400, num_samples=10**9, right=10**9, within_five=10**9
    )
    few = _counts().model_copy(update={"classes": (one,) * 100})
    largest_bytes = len(few.model_dump_json()) * MAX_NUM_CLASSES // 100
    # Spaces instead of classes: so many of these take seconds to read.
    assert _read_back(run, few.model_dump_json() + " " * largest_bytes) == few
    assert _read_back(run, few.model_dump_json() + " " * 2 * largest_bytes) is None


def test_pairs_are_not_listed_with_the_classes_but_read_from_files_of_before(
    run: RunDirectory,
) -> None:
    counts = _counts((4, 2, 3), (1, 1, 1))
    paired = counts.model_copy(update={"pairs": ((0, 0, 2), (0, 1, 2))})
    assert _read_back(run, paired.model_dump_json()) == counts
    before = json.loads(paired.model_dump_json()) | {"pairs": paired.pairs}
    # More than 4 MiB, as they were of a set evenly spread.
    assert _read_back(run, json.dumps(before) + " " * (8 << 20)) == paired


def test_classes_are_ranked_by_the_share_that_is_right() -> None:
    counts = _counts((4, 2, 3), (0, 0, 0), (100, 49, 99), (4, 2, 2), (2, 2, 2))
    assert [one.label for one in counts.worst_first()] == [2, 3, 0, 4]
