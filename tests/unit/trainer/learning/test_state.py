import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler import needs_compiler
from tests.unit.trainer.runs import DATA_SHA256
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.contract.attempt import RETRYABLE, AttemptOrder, Reason
from trainer.contract.checkpoint import DataDigests, ScheduleState
from trainer.contract.checkpoint_folder import (
    CheckpointError,
    OtherDataError,
    OtherKernelError,
    OtherSpecError,
)
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas
from trainer.errors import reason_of
from trainer.learning.state import State, begin, differences, together

CPU = torch.device("cpu")
NUMERICS = {
    "CPU capability",
    "LRN kernel",
    "device",
    "micro-batch",
    "processor",
    "project",
    "python",
    "replicas",
    "torch",
    "torch threads",
}

Job = Callable[..., JobSpec]


def _order(spec: JobSpec, resume_from: str | None = None) -> AttemptOrder:
    return AttemptOrder(
        job_id="job", attempt=1, spec=spec, accelerator="cpu", resume_from=resume_from
    )


def _begin(
    spec: JobSpec,
    run: Path,
    *,
    resume_from: str | None = None,
    data: DataDigests = DATA_SHA256,
    replicas: Replicas | None = None,
) -> State:
    return begin(
        _order(spec, resume_from),
        run,
        [CPU, CPU],
        data_sha256=data,
        replicas=replicas or Replicas(CPU),
    )


def _write(spec: JobSpec, run: Path, **changes: Any) -> str:
    """Write the checkpoint of a state after 3 steps and return where it lies in the run."""
    state = _begin(spec, run)
    state.step = 3
    state.schedule = ScheduleState(drops=1)
    state.top1, state.top5 = 0.5, 0.75
    state.rule.velocity["fc8.bias"].fill_(2)
    return _save(state, spec, run, **changes)


def _save(state: State, spec: JobSpec, run: Path, **changes: Any) -> str:
    manifest = state.manifest(_order(spec), steps_per_epoch=2).model_copy(update=changes)
    snapshot = take_snapshot(manifest, state.weights, state.rule.velocity)
    name = f"step-{state.step:08d}"
    write_checkpoint(snapshot, run / name, check_fence=lambda: None)
    return name


def test_a_resumed_state_is_the_one_that_was_written(job: Job, tmp_path: Path) -> None:
    spec = job()
    folder = _write(spec, tmp_path)
    state, drawn = _begin(spec, tmp_path, resume_from=folder), _begin(spec, tmp_path)
    assert (state.step, state.schedule.drops, state.top1, state.top5) == (3, 1, 0.5, 0.75)
    assert all(torch.equal(drawn.weights[name], value) for name, value in state.weights.items())
    assert float(state.rule.velocity["fc8.bias"].mean()) == 2
    assert state.manifest(_order(spec), steps_per_epoch=2).epoch == 1.5


def test_resuming_where_nothing_has_changed_is_exact(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = job()
    folder = _write(spec, tmp_path)
    assert _begin(spec, tmp_path, resume_from=folder).inexact == ()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("what", sorted(NUMERICS - {"LRN kernel"}))
def test_a_resume_that_is_not_exact_says_why(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    spec = job()
    numerics = _begin(spec, tmp_path).manifest(_order(spec), steps_per_epoch=2).numerics
    assert numerics.keys() == NUMERICS
    folder = _write(spec, tmp_path, numerics={**numerics, what: "another"})
    state = _begin(spec, tmp_path, resume_from=folder)
    assert state.inexact == (f"{what} was another and is {numerics[what]}",)
    assert "this resume is not exact, the weights will not be bit-identical" in caplog.text
    assert f"{what} was another" in caplog.text


def test_what_was_not_exact_once_is_told_at_every_later_resume(job: Job, tmp_path: Path) -> None:
    spec = job()
    first = _write(spec, tmp_path)
    torch.set_num_threads(2)
    second = _begin(spec, tmp_path, resume_from=first)
    once = ("torch threads was 1 and is 2",)
    assert second.inexact == once
    second.step = 4
    saved = _save(second, spec, tmp_path)
    third = _begin(spec, tmp_path, resume_from=saved)
    assert third.inexact == once
    torch.set_num_threads(1)
    back = (*once, "torch threads was 2 and is 1")
    third = _begin(spec, tmp_path, resume_from=saved)
    assert third.inexact == back
    third.step = 5
    saved = _save(third, spec, tmp_path)
    torch.set_num_threads(2)
    # The same change again is told once.
    assert _begin(spec, tmp_path, resume_from=saved).inexact == back


class _WithAnother(Replicas):
    """Two replicas, of which the other's machine has so many threads."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(CPU)
        self._other = {"torch threads": str(num_threads)}

    def gather(self, value: Any) -> list[Any]:
        return [value, {**value, **self._other}]


def test_a_change_on_another_ranks_machine_is_told_with_its_rank(job: Job, tmp_path: Path) -> None:
    spec = job()
    folder = _save(_begin(spec, tmp_path, replicas=_WithAnother(1)), spec, tmp_path)
    state = _begin(spec, tmp_path, resume_from=folder, replicas=_WithAnother(3))
    assert state.inexact == ("torch threads was 1 and is 1 on rank 0, 3 on rank 1",)
    state.step = 1
    saved = _save(state, spec, tmp_path, inexact=())
    # Machines that differ, but as they did before, change nothing.
    assert _begin(spec, tmp_path, resume_from=saved, replicas=_WithAnother(3)).inexact == ()


def test_what_all_ranks_share_is_told_without_ranks() -> None:
    assert together([{"a": "x", "b": "y"}]) == {"a": "x", "b": "y"}
    assert together([{"a": "x", "b": "y"}, {"a": "x", "b": "z"}]) == {
        "a": "x",
        "b": "y on rank 0, z on rank 1",
    }


@pytest.mark.parametrize(
    ("changes", "inexact"),
    [
        ({"optim": {"global_batch_size": 8, "micro_batch_size": 2}}, "micro-batch was 8 and is 2"),
        ({"scale": {"replicas": 2}}, "micro-batch was 8 and is 4; replicas was 1 and is 2"),
    ],
)
def test_what_the_spec_may_change_between_attempts_is_told(
    job: Job, tmp_path: Path, changes: dict[str, Any], inexact: str
) -> None:
    optim = {"optim": {"global_batch_size": 8}}
    folder = _write(job(**optim), tmp_path)
    state = _begin(job(**{**optim, **changes}), tmp_path, resume_from=folder)
    assert "; ".join(state.inexact) == inexact


@needs_compiler
def test_numerics_tell_of_the_threads_and_the_kernel_in_use(
    job: Job, small_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def numerics(spec: JobSpec) -> dict[str, str]:
        state = State(spec, [CPU, CPU], DATA_SHA256, Replicas(CPU))
        return state.manifest(_order(spec), steps_per_epoch=1).numerics

    assert numerics(job())["LRN kernel"] == "fused"
    monkeypatch.setattr("trainer.network.early_layer.load", lambda _: None)
    assert numerics(job())["LRN kernel"] == "banded"
    assert numerics(job(model=small_model(lrn=False)))["LRN kernel"] == "none"
    assert numerics(job())["torch threads"] == "1"
    torch.set_num_threads(2)
    assert numerics(job())["torch threads"] == "2"


texts = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"))


@given(before=texts, now=texts)
def test_differences_name_each_thing_that_changed_once(
    before: dict[str, str], now: dict[str, str]
) -> None:
    changed = {what for what in "abcd" if before.get(what) != now.get(what)}
    said = differences(before, now)
    assert sorted(line.partition(" was ")[0] for line in said) == sorted(changed)


def _refusal(spec: JobSpec, run: Path, folder: str, **data: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as refusal:
        _begin(spec, run, resume_from=folder, **data)
    return refusal.value


def test_another_specs_checkpoint_is_refused(job: Job, tmp_path: Path) -> None:
    folder = _write(job(), tmp_path)
    refusal = _refusal(job(seed=1), tmp_path, folder)
    assert isinstance(refusal, OtherSpecError)
    assert "another spec" in str(refusal)
    assert reason_of(refusal) is Reason.BAD_SPEC


def test_a_checkpoint_of_the_first_release_is_refused_by_its_name(job: Job, tmp_path: Path) -> None:
    folder = _write(job(), tmp_path, model=None)
    refusal = _refusal(job(), tmp_path, folder)
    assert isinstance(refusal, OtherSpecError)
    assert "was written by release 0.1" in str(refusal)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_other_data_are_refused_by_both_digests(job: Job, tmp_path: Path, name: str) -> None:
    folder = _write(job(), tmp_path)
    before = DATA_SHA256.model_dump()[name]
    other = DATA_SHA256.model_copy(update={name: "c" * 64})
    refusal = _refusal(job(), tmp_path, folder, data=other)
    assert isinstance(refusal, OtherDataError)
    assert f"the content of data.{name} had sha256 {before} and has {'c' * 64}" in str(refusal)
    assert "put back the shards it was trained on, or start a new job" in str(refusal)
    assert reason_of(refusal) is Reason.BAD_DATA


@needs_compiler
@pytest.mark.parametrize(
    ("kernel", "mend"),
    [
        ("banded", "resume on a machine of the same kind, or"),
        ("compiled", "resume on a GPU, or"),
        ("fused on rank 0, banded on rank 1", "resume on a machine of the same kind, or"),
        (None, "resume on a machine of the same kind, or"),
    ],
)
def test_another_kernels_checkpoint_is_refused_unless_allowed(
    job: Job, tmp_path: Path, kernel: str | None, mend: str
) -> None:
    numerics = _begin(job(), tmp_path).manifest(_order(job()), steps_per_epoch=2).numerics
    here = numerics.pop("LRN kernel")
    before = {} if kernel is None else {"LRN kernel": kernel}
    folder = _write(job(), tmp_path, numerics={**numerics, **before})
    refusal = _refusal(job(), tmp_path, folder)
    assert isinstance(refusal, OtherKernelError)
    told = f"the LRN kernel {kernel or 'unknown'}, and here LRN is computed by {here}"
    assert told in str(refusal)
    assert mend in str(refusal)
    assert "checkpoint.allow_other_kernels = true" in str(refusal)
    assert reason_of(refusal) is Reason.BAD_SPEC
    assert reason_of(refusal) not in RETRYABLE
    # The spec may be changed between attempts in this.
    allowing = job(checkpoint={"allow_other_kernels": True})
    state = _begin(allowing, tmp_path, resume_from=folder)
    assert state.inexact == (f"LRN kernel was {kernel or 'unknown'} and is {here}",)


@needs_compiler
def test_without_a_compiler_a_fused_checkpoint_is_refused_with_the_mend(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(job(), tmp_path)
    monkeypatch.setattr("trainer.network.early_layer.load", lambda _: None)
    refusal = _refusal(job(), tmp_path, folder)
    assert "the LRN kernel fused, and here LRN is computed by banded" in str(refusal)
    assert "resume on a CPU with g++ installed (Debian: apt-get install g++)" in str(refusal)


def test_the_update_rules_kernel_is_of_no_account(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It gives the bits that torch gives (test_update_rule).
    folder = _write(job(), tmp_path)
    monkeypatch.setattr("trainer.learning.update_rule.load", lambda *_: None)
    assert _begin(job(), tmp_path, resume_from=folder).inexact == ()


def test_the_same_data_elsewhere_are_resumed(job: Job, tmp_path: Path) -> None:
    folder = _write(job(), tmp_path)
    moved = job(data={"train": "elsewhere", "validation": "elsewhere too"})
    assert _begin(moved, tmp_path, resume_from=folder).step == 3


def test_fine_tuning_begins_anew_with_the_weights_alone(job: Job, tmp_path: Path) -> None:
    folder = _write(job(), tmp_path)
    init_from = {"checkpoint": str(tmp_path / folder), "new_layers": ["fc7"]}
    spec = job(seed=1, init_from=init_from)
    state = _begin(spec, tmp_path)
    taken, drawn = _begin(job(), tmp_path).weights, _begin(job(seed=1), tmp_path).weights
    for name, weight in state.weights.items():
        assert torch.equal(weight, (drawn if ".fc7." in name else taken)[name]), name
    assert (state.step, state.schedule, state.top1) == (0, ScheduleState(), None)
    assert not any(velocity.any() for velocity in state.rule.velocity.values())
    assert state.started_from is not None
    assert (state.started_from.step, state.started_from.new_layers) == (3, ("fc7",))


def test_a_resume_of_fine_tuning_needs_its_own_checkpoint_alone(job: Job, tmp_path: Path) -> None:
    origin = tmp_path / _write(job(), tmp_path)
    spec = job(seed=1, init_from={"checkpoint": str(origin)})
    begun = _begin(spec, tmp_path)
    begun.step = 5
    own = _save(begun, spec, tmp_path)
    shutil.rmtree(origin)
    resumed = _begin(spec, tmp_path, resume_from=own)
    assert (resumed.step, resumed.inexact) == (5, ())
    assert resumed.started_from == begun.started_from is not None
    assert resumed.manifest(_order(spec), steps_per_epoch=2).started_from == begun.started_from


def test_a_resume_of_fine_tuning_is_refused_where_other_weights_are_named(
    job: Job, tmp_path: Path
) -> None:
    origin = tmp_path / _write(job(), tmp_path)
    spec = job(seed=1, init_from={"checkpoint": str(origin)})
    begun = _begin(spec, tmp_path)
    begun.step = 5
    own = _save(begun, spec, tmp_path)
    moved = origin.rename(tmp_path / "moved")
    again = job(seed=1, init_from={"checkpoint": str(moved)})
    assert _begin(again, tmp_path, resume_from=own).step == 5
    other = tmp_path / _write(job(seed=2), tmp_path)
    spec = job(seed=1, init_from={"checkpoint": str(other)})
    with pytest.raises(OtherSpecError, match=r"job after 3 steps, and init_from\.checkpoint names"):
        _begin(spec, tmp_path, resume_from=own)


def test_a_damaged_checkpoint_is_not_the_specs_fault(job: Job, tmp_path: Path) -> None:
    folder = _write(job(), tmp_path)
    (tmp_path / folder / "model.safetensors").write_bytes(b"")
    assert reason_of(_refusal(job(), tmp_path, folder)) is Reason.CRASHED
