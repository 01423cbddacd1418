from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from trainer.contract.geometry import map_sizes
from trainer.contract.layers import layers
from trainer.contract.model_spec import ModelSpec
from trainer.contract.optim_spec import PlateauSchedule, StepSchedule
from trainer.contract.spec import InitFrom, JobSpec, Location
from trainer.contract.spec_error import SpecError

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
    "data.record_sample_keys",
    "optim.micro_batch_size",
    "evaluation.protocol",
    "evaluation.checkpoints",
    "calibration.warm_up_steps",
    "calibration.steps",
    "calibration.seconds",
    "scale.replicas",
    "scale.devices_per_replica",
    "scale.accelerator",
    "scale.cpus_per_replica",
    "checkpoint.interval_steps",
    "checkpoint.keep_last",
    "checkpoint.allow_other_kernels",
    "checkpoint.keep_best",
    "retry.max_attempts",
    "retry.backoff_s",
    "retry.max_backoff_s",
    "retry.hang_factor",
    "retry.hang_floor_s",
    "retry.deadline_s",
}

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_OF_TYPE: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 2**31),
    float: st.floats(0.001, 1000),
    str: _texts,
    Location: _texts,
    # Where its checkpoint lies is tested below.
    InitFrom: st.builds(InitFrom, checkpoint=_texts.filter(bool)),
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
    if get_origin(annotation) is tuple:
        return st.tuples(_values(get_args(annotation)[0]))
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


def test_the_digest_follows_what_is_drawn_anew_and_not_where_the_rest_lies() -> None:
    def digest(**init_from: Any) -> str:
        return SPEC.model_copy(update={"init_from": InitFrom(**init_from)}).sha256()

    assert digest(checkpoint="a") == digest(checkpoint="b") != SPEC.sha256()
    assert digest(checkpoint="a", new_layers=("fc8",)) != digest(checkpoint="a")


REFUSED: dict[str, dict[str, Any]] = {
    "model.width": {"model": {"width": 0.01}},
    "model.input_size": {"model": {"input_size": 35}},
    "model.column_communication": {
        "model": {"towers": 1, "column_communication": False},
        "scale": {"devices_per_replica": 1},
    },
    "model.inverted_dropout": {"model": {"dropout": False, "inverted_dropout": True}},
    "optim.warmup_epochs": {"optim": {"warmup_epochs": 5}},
    "scale.devices_per_replica": {"model": {"towers": 1}},
    "evaluation.checkpoints": {"kind": "evaluate"},
    "init_from": {
        "kind": "evaluate",
        "evaluation": {"checkpoints": ["a"]},
        "init_from": {"checkpoint": "a"},
    },
    "init_from.new_layers": {"init_from": {"checkpoint": "a", "new_layers": ["fc8", "conv6"]}},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        JobSpec.model_validate(SPEC.model_dump() | REFUSED[field])
    cause = raised.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, SpecError)
    assert cause.field == field


@pytest.mark.parametrize("kind", ["train", "calibrate"])
def test_checkpoints_to_evaluate_are_refused_where_nothing_evaluates_them(kind: str) -> None:
    evaluation = {"evaluation": {"checkpoints": ["a"]}}
    with pytest.raises(ValidationError, match=r"only kind = evaluate reads them"):
        JobSpec.model_validate(SPEC.model_dump() | {"kind": kind} | evaluation)


def test_the_smallest_input_that_is_taken_leaves_every_map_an_edge() -> None:
    with pytest.raises(ValidationError, match=r"edges of 7, 3, 1, 0; use 36 or more"):
        ModelSpec(input_size=35)
    assert map_sizes(ModelSpec(input_size=36).input_size) == (8, 4, 2, 1)
    assert map_sizes(224) == (55, 27, 13, 6)


@pytest.mark.parametrize("width", [1e-9, 0.5 / 48])
def test_the_width_that_a_refusal_names_is_taken(width: float) -> None:
    with pytest.raises(ValidationError, match=r"no channel: .*; use 0\.011 or more"):
        ModelSpec(width=width)
    assert all(layer.outputs >= 1 for layer in layers(ModelSpec(width=0.011)))


def test_only_layers_of_the_network_can_be_new() -> None:
    def validate(layer: str, **model: Any) -> JobSpec:
        init_from = {"checkpoint": "a", "new_layers": [layer]}
        return JobSpec.model_validate(SPEC.model_dump() | {"init_from": init_from, "model": model})

    assert validate("conv6", sixth_conv=True).init_from is not None
    assert validate("conv3").init_from is not None
    with pytest.raises(ValidationError, match=r"the network of model has no conv3 to draw"):
        validate("conv3", removed_layer="conv3")
