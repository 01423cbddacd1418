from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.editing import Edit, edited
from service.jobs.events import Edited
from service.jobs.lifecycle import RefusedError
from service.problems import SpecRefusedError
from tests.unit.service.conftest import make_spec
from tests.unit.service.jobs.records import job
from trainer.contract.status import TERMINAL, Status

keys = st.sampled_from("abc")
values = st.sampled_from(["", "x", "y"])
edits = st.builds(
    Edit,
    priority=st.none() | st.integers(-100, 100),
    labels=st.dictionaries(keys, st.none() | values, max_size=3),
)


@given(st.dictionaries(keys, values), edits)
def test_what_is_named_changes_and_the_change_tells_all_of_it(
    labels: dict[str, str], edit: Edit
) -> None:
    before = job(status=Status.RUNNING, spec=make_spec(labels=labels, seed=7))
    spec, change = edited(before, edit)
    told = Edited() if change is None else change
    wanted = {**labels, **edit.labels}
    assert spec.labels == {key: value for key, value in wanted.items() if value is not None}
    assert spec.labels == {
        key: value for key, value in {**labels, **told.labels}.items() if value is not None
    }
    assert spec.priority == (0 if edit.priority is None else edit.priority)
    assert spec.priority == (0 if told.priority is None else told.priority)
    assert (change is None) == (spec == before.spec)
    assert spec.sha256() == before.spec.sha256()
    # Nothing else does, and once it is so there is nothing to tell.
    assert spec.model_copy(update={"labels": labels, "priority": 0}) == before.spec
    assert edited(replace(before, spec=spec), edit) == (spec, None)


@pytest.mark.parametrize("status", Status)
def test_the_priority_of_a_job_that_has_ended_stays(status: Status) -> None:
    before = job(status=status)
    assert edited(before, Edit(priority=0, labels={"a": "b"}))[0].labels == {"a": "b"}
    if status in TERMINAL:
        with pytest.raises(RefusedError, match=f"it is {status}|is {status}"):
            edited(before, Edit(priority=1))
    else:
        assert edited(before, Edit(priority=1))[0].priority == 1


def test_too_many_labels_are_refused_by_the_field() -> None:
    before = job(status=Status.QUEUED, spec=make_spec(labels={f"k{n}": "" for n in range(32)}))
    with pytest.raises(SpecRefusedError) as refused:
        edited(before, Edit(labels={"one-more": ""}))
    assert [error.field for error in refused.value.errors] == ["labels"]
    edited(before, Edit(labels={"one-more": "", "k0": None}))
