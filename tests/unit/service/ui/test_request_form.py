"""The form that a job is submitted by."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from service.problems import FieldError
from service.ui.request_form import (
    FIELDS,
    RequestError,
    read_request,
    request_of,
    shown_fields,
    values_of,
    why_untold,
)
from trainer.contract.presets import expand_preset
from trainer.contract.spec import JobSpec

FILLED = {
    "name": " first light ",
    "preset": "small",
    "data.train": "/d/t.json",
    "data.validation": "/d/v.json",
    "optim.epochs": "3",
    "optim.learning_rate": "0.01",
    "scale.replicas": "2",
    "scale.devices_per_replica": "1",
    "labels": "team=vision, on=call",
    "seed": "",
    "private": "yes",
    "no field of ours": "left out",
}


def test_a_filled_form_comes_to_a_request_that_is_accepted() -> None:
    request = request_of(FILLED)
    assert request == {
        "name": "first light",
        "preset": "small",
        "data": {"train": "/d/t.json", "validation": "/d/v.json"},
        "optim": {"epochs": 3, "learning_rate": 0.01},
        "scale": {"replicas": 2, "devices_per_replica": 1},
        "labels": {"team": "vision", "on": "call"},
        "private": True,
    }
    del request["private"]
    assert JobSpec.model_validate(expand_preset(request)).optim.epochs == 3


def test_what_is_left_empty_is_left_to_the_preset() -> None:
    assert request_of({field.path: "" for field in FIELDS}) == {}


def test_what_is_no_number_is_left_for_the_spec_to_refuse() -> None:
    assert request_of({"seed": "many"}) == {"seed": "many"}


@pytest.mark.parametrize("labels", ["team", "team=vision, core", "team=a, team=b"])
def test_labels_that_are_none_are_refused_and_how_to_write_them_is_said(labels: str) -> None:
    request = request_of(FILLED | {"labels": labels})
    assert request["labels"] == labels
    del request["private"]
    with pytest.raises(ValidationError, match="labels"):
        JobSpec.model_validate(expand_preset(request))
    refused = FieldError(field="labels", message="this is a group of fields")
    fields, _ = shown_fields({"labels": labels}, [refused])
    (told,) = (one.errors for one in fields if one.errors)
    assert len(told) == 1
    assert told[0].startswith("write KEY=VALUE")


def test_a_request_fills_the_form_that_comes_to_it_again() -> None:
    request = request_of(FILLED)
    filled, untold = values_of(request)
    assert untold == []
    assert request_of(filled) == request
    assert values_of({"labels": {}, "private": False, "seed": "many"}) == (
        {"labels": "", "seed": "many"},
        [],
    )


@pytest.mark.parametrize(
    ("request_", "untold"),
    [
        ({"clone": "a1"}, ["clone"]),
        (
            {"model": {"width": 0.5}, "optim": {"epochs": 3, "momentum": 0.8}},
            ["model", "optim.momentum"],
        ),
        ({"data.train": "/d"}, ["data.train"]),
        ({"seed": "3"}, ["seed"]),
        ({"seed": None}, ["seed"]),
        ({"seed": True}, ["seed"]),
        ({"optim": 3}, ["optim"]),
        ({"labels": {"team": "a, b=c"}}, ["labels"]),
        ({"preset": "none of ours"}, ["preset"]),
        ({"scale": {"devices_per_replica": 3}}, ["scale.devices_per_replica"]),
        ({"private": "yes"}, ["private"]),
    ],
)
def test_what_the_form_cannot_tell_is_named(request_: dict[str, Any], untold: list[str]) -> None:
    assert values_of(request_)[1] == untold


@pytest.mark.parametrize(
    ("key", "has_field"),
    [("seed", True), ("optim.epochs", True), ("private", True), ("clone", False), ("optim", False)],
)
def test_why_it_cannot_is_said(key: str, has_field: bool) -> None:
    why = "the form's field cannot hold this" if has_field else "the form has no field for this"
    assert why_untold(key) == f"{why}; submit it by its spec"


def test_errors_are_told_beside_the_field_and_others_above() -> None:
    errors = [
        FieldError(field="optim.epochs", message="too few"),
        FieldError(field="labels.Team", message="no such key"),
        FieldError(field="model.width", message="too wide"),
        FieldError(field="", message="no object"),
    ]
    fields, others = shown_fields(FILLED, errors)
    told = {one.field.path: list(one.errors) for one in fields if one.errors}
    assert told == {"optim.epochs": ["too few"], "labels": ["no such key"]}
    assert [one.field for one in others] == ["model.width", ""]
    assert {one.field.path: one.value for one in fields}["name"] == " first light "


def test_every_field_says_what_it_is() -> None:
    fields, _ = shown_fields({})
    assert all(one.help for one in fields)


def test_a_pasted_request_is_read() -> None:
    assert read_request('{"clone": "a"}') == {"clone": "a"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ('{"name": }', "line 1, column 10"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested"),
        ('{"seed": ' + "9" * 5000 + "}", "long a number"),
    ],
)
def test_what_is_no_request_is_refused_and_why_is_said(text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read_request(text)


def test_a_request_goes_through_the_page_unchanged() -> None:
    asked: dict[str, Any] = request_of(FILLED)
    assert read_request(json.dumps(asked, indent=2)) == asked
