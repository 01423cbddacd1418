import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import service
from service.problems import FieldError, ProblemType, SpecRefusedError, field_errors
from trainer.contract.attempt import CLASSES, Reason
from trainer.contract.problem import ATTEMPT_DISOWNED
from trainer.contract.spec import JobSpec

DATA = {"train": "/t", "validation": "/v"}


def errors_of(**fields: Any) -> tuple[FieldError, ...]:
    document = {"name": "a job", "data": DATA} | fields
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(document)
    return field_errors(refused.value, document)


@given(
    group=st.sampled_from([(), ("optim",), ("scale",), ("augment",)]),
    name=st.text("abcxyz.", min_size=1, max_size=10).map(lambda text: f"no_{text}"),
)
def test_a_field_that_is_none_is_named_where_it_stands(group: tuple[str, ...], name: str) -> None:
    fields: Any = {name: 1}
    for outer in reversed(group):
        fields = {outer: fields}
    (error,) = errors_of(**fields)
    assert error.field == ".".join((*group, name))
    assert error.message == "there is no such field; remove it"


def test_the_tag_of_a_union_is_no_part_of_the_path() -> None:
    (error,) = errors_of(optim={"schedule": {"kind": "steps", "epochs": [0]}})
    assert error.field == "optim.schedule.epochs.0"


def test_a_list_is_asked_for_by_that_name() -> None:
    (error,) = errors_of(kind="evaluate", evaluation={"checkpoints": "job:a"})
    assert (error.field, error.message) == (
        "evaluation.checkpoints",
        "this is a list; write [ ... ]",
    )


def test_a_refusal_says_every_field() -> None:
    errors = [FieldError(field="a", message="wrong"), FieldError(field="b.c", message="missing")]
    refused = SpecRefusedError(errors)
    assert str(refused) == "a: wrong; b.c: missing"
    assert refused.errors == tuple(errors)


def test_the_page_of_problems_has_every_type_with_its_status_and_no_other() -> None:
    page = Path(__file__).parents[3] / "docs" / "problems.md"
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page.read_text(), re.MULTILINE)
    assert rows == [(one.rpartition(":")[2], str(one.status)) for one in ProblemType]


def test_the_page_of_problems_has_every_reason_with_whose_it_is() -> None:
    page = Path(__file__).parents[3] / "docs" / "problems.md"
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", page.read_text(), re.MULTILINE)
    assert rows == [(reason.value, CLASSES[reason].value) for reason in Reason]


def test_no_status_alone_disowns_an_attempt() -> None:
    assert ProblemType.ATTEMPT_DISOWNED == ATTEMPT_DISOWNED
    types = {ProblemType.of_status(status) for status in range(400, 600)}
    assert ProblemType.ATTEMPT_DISOWNED not in types
    assert ProblemType.of_status(418) is ProblemType.BAD_REQUEST
    assert ProblemType.of_status(599) is ProblemType.FAILED


def test_every_type_is_answered_somewhere_and_none_by_a_name_that_is_none() -> None:
    (root,) = service.__path__
    code = [file.read_text() for file in Path(root).rglob("*.py") if file.name != "problems.py"]
    named = {name for text in code for name in re.findall(r"ProblemType\.([A-Z_]+)", text)}
    # What the status alone names is answered by of_status.
    by_status = {ProblemType.of_status(one.status).name for one in ProblemType}
    assert named | by_status == set(ProblemType.__members__)
