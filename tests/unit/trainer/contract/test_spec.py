from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from trainer.contract.spec import JobSpec, PlateauSchedule, StepSchedule

SPEC = JobSpec.model_validate({"name": "job", "data": {"train": "t", "validation": "v"}})

# What may change between two attempts without another job beginning; all else decides the weights.
NOT_DECISIVE = {
    "name",
    "labels",
    "priority",
    "data.train",
    "data.validation",
    "data.corrupt_sample_limit",
    "data.num_loader_processes",
    "optim.micro_batch_size",
    "scale.replicas",
    "scale.devices_per_replica",
    "scale.accelerator",
    "scale.cpus_per_replica",
    "checkpoint.interval_steps",
    "checkpoint.keep_last",
    "checkpoint.keep_best",
    "retry.max_attempts",
    "retry.backoff_s",
    "retry.max_backoff_s",
}

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_OF_TYPE: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 2**31),
    float: st.floats(0.001, 1000),
    str: _texts,
}


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    """Return values of a field's type; its bounds do not matter to the digest."""
    if annotation in _OF_TYPE:
        return _OF_TYPE[annotation]
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if get_origin(annotation) is dict:
        return st.dictionaries(_texts, _texts, max_size=2)
    if set(get_args(annotation)) == {PlateauSchedule, StepSchedule}:
        plateaus = st.builds(PlateauSchedule, patience_epochs=st.integers(1, 9))
        return plateaus | st.builds(StepSchedule, epochs=st.tuples(st.integers(1, 90)))
    kinds = get_args(annotation)
    assert len(kinds) == 2, annotation
    assert type(None) in kinds, annotation
    return st.none() | _values(next(kind for kind in kinds if kind is not type(None)))


def _fields(record: type[BaseModel], prefix: str = "") -> dict[str, st.SearchStrategy[Any]]:
    """Return every field that holds no record, by its dotted name, with values for it."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in record.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields |= _fields(kind, f"{prefix}{name}.")
        else:
            fields[prefix + name] = _values(kind)
    return fields


FIELDS = _fields(JobSpec)


def _changed(record: Any, name: str, value: object) -> tuple[Any, object]:
    """Return the record with one field changed, and what the field held before."""
    first, _, rest = name.partition(".")
    if not rest:
        return record.model_copy(update={first: value}), getattr(record, first)
    inner, before = _changed(getattr(record, first), rest, value)
    return record.model_copy(update={first: inner}), before


def test_every_field_that_is_not_decisive_exists() -> None:
    assert FIELDS.keys() > NOT_DECISIVE


@pytest.mark.parametrize("name", sorted(FIELDS))
@given(data=st.data())
def test_the_digest_follows_all_that_decides_the_weights_and_nothing_else(
    name: str, data: st.DataObject
) -> None:
    value = data.draw(FIELDS[name])
    changed, before = _changed(SPEC, name, value)
    same = name in NOT_DECISIVE or value == before
    assert (changed.sha256() == SPEC.sha256()) == same
