from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import manifest_of
from trainer.contract.checkpoint_folder import Checkpoint
from trainer.contract.retention import KeptBecause, why_kept
from trainer.contract.spec import CheckpointSpec


def _checkpoints(latest_first: list[float | None]) -> list[Checkpoint]:
    steps = range(len(latest_first), 0, -1)
    return [
        Checkpoint(Path(f"step-{step:08d}"), manifest_of(step, top1=top1))
        for step, top1 in zip(steps, latest_first, strict=True)
    ]


def _steps(reasons: dict[Path, list[KeptBecause]]) -> list[int]:
    return sorted(int(folder.name[5:]) for folder, why in reasons.items() if why)


def test_the_latest_and_the_best_are_kept() -> None:
    checkpoints = _checkpoints([0.5, 0.6, 0.4, 0.9, None, 0.9])
    assert _steps(why_kept(checkpoints, CheckpointSpec(keep_last=2))) == [3, 5, 6]
    no_best = CheckpointSpec(keep_last=2, keep_best=False)
    assert _steps(why_kept(checkpoints, no_best)) == [5, 6]


@given(
    latest_first=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12),
    keep_last=st.integers(1, 5),
    keep_best=st.booleans(),
    data=st.data(),
)
def test_each_is_kept_for_its_reasons_and_no_other(
    latest_first: list[float | None], keep_last: int, keep_best: bool, data: st.DataObject
) -> None:
    checkpoints = _checkpoints(latest_first)
    folders = [checkpoint.folder for checkpoint in checkpoints]
    resumed_from = data.draw(st.sets(st.sampled_from(folders), max_size=2))
    pinned = data.draw(st.sets(st.sampled_from(folders)))
    spec = CheckpointSpec(keep_last=keep_last, keep_best=keep_best)
    reasons = why_kept(checkpoints, spec, resumed_from=resumed_from, pinned=pinned)

    def kept(because: KeptBecause) -> set[Path]:
        return {folder for folder, why in reasons.items() if because in why}

    assert kept(KeptBecause.LAST) == set(folders[:keep_last])
    assert kept(KeptBecause.PINNED) == pinned
    assert kept(KeptBecause.RESUMED_FROM) == resumed_from
    judged = [top1 for top1 in latest_first if top1 is not None]
    best = kept(KeptBecause.BEST)
    assert len(best) == (keep_best and bool(judged))
    assert all(latest_first[folders.index(folder)] == max(judged) for folder in best)
    assert len(_steps(reasons)) <= keep_last + keep_best + len(resumed_from) + len(pinned)
