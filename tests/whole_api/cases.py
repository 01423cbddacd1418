"""Cases of an operation: what its description allows, or not, and what nearly succeeds."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.whole_api.known_requests import Known

JSON = "application/json"
# What code that trusts a description stumbles over.
_AWKWARD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 5e-324),
    *("", " ", "\x00", "\ud800", "../..", "a" * 5000, "1", "null"),
    *([], [[]], {}, {"": None}, {"kind": "none"}),
)
Place = tuple[str | int, ...]


def places_in(document: Any) -> list[Place]:
    """Return where in a JSON document each of its values lies, except the document itself."""
    if isinstance(document, Mapping):
        below = list(document.items())
    elif isinstance(document, list):
        below = list(enumerate(document))
    else:
        return []
    return [
        place
        for key, value in below
        for place in [(key,), *((key, *rest) for rest in places_in(value))]
    ]


@st.composite
def one_field_otherwise(draw: st.DrawFn, document: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the document with a value replaced, left out, or with another beside it."""
    changed = copy.deepcopy(dict(document))
    places = places_in(changed)
    *above, key = draw(st.sampled_from(places)) if places else ("field",)
    within: Any = changed
    for step in above:
        within = within[step]
    how = draw(st.sampled_from(("other", "other", "gone", "beside"))) if places else "beside"
    if how == "gone":
        del within[key]
    elif how == "beside" and isinstance(within, dict):
        within[f"{key} "] = draw(_values(None))
    else:
        within[key] = draw(_values(within.get(key) if isinstance(within, dict) else within[key]))
    return changed


def _values(instead_of: Any) -> st.SearchStrategy[Any]:
    anything = (
        st.sampled_from(_AWKWARD)
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20)
    )
    return st.sampled_from(near) | anything if (near := _near(instead_of)) else anything


def _near(value: Any) -> list[Any]:
    """Return what may be allowed where a value is."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value * 2, 1]
        case float():
            return [value / 2, value * 2]
        case str():
            return [f"{value}2"]
    return []


@st.composite
def allowed(
    draw: st.DrawFn, operation: Any, known: Sequence[Known], ids: Mapping[str, Sequence[Any]]
) -> schemathesis.Case[Any]:
    """Draw what the description allows; two in three times of what there is.

    Of these every other one is a request that succeeds but for one field. `ids`: what there is,
    by path parameter.
    """
    how = draw(st.sampled_from(("anything", "of what there is", "known but for one field")))
    if how == "anything":
        return draw(operation.as_strategy())
    path = {name: draw(st.sampled_from(ids[name])) for name in _names(operation)}
    one = draw(st.sampled_from(known))
    if how == "of what there is" or one.body is None:
        return draw(operation.as_strategy(path_parameters=path))
    body = draw(one_field_otherwise(one.body))
    case = case_of(operation, one)
    case.body = body
    if draw(st.booleans()):
        case.path_parameters = path
    return case


def refused(
    operation: Any, ids: Mapping[str, Sequence[Any]]
) -> st.SearchStrategy[schemathesis.Case[Any]] | None:
    """Return what the description does not allow; None: there is nothing that it forbids.

    Where there is more than a path that may be wrong, every other one is of what there is.
    """
    elsewhere = any((operation.query, operation.headers, operation.body))
    names = _names(operation)
    if not (elsewhere or names):
        return None
    anything = operation.as_strategy(GenerationMode.NEGATIVE)
    if not (elsewhere and names):
        return anything
    paths = st.fixed_dictionaries({name: st.sampled_from(ids[name]) for name in names})
    return anything | paths.flatmap(
        lambda path: operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=path)
    )


def case_of(operation: Any, known: Known) -> schemathesis.Case[Any]:
    """Return a request as it is sent."""
    body = {} if known.body is None else {"body": known.body, "media_type": JSON}
    return operation.Case(
        path_parameters=dict(known.path_parameters),
        query=dict(known.query),
        headers=dict(known.headers),
        **body,
    )


def _names(operation: Any) -> list[str]:
    return [parameter.name for parameter in operation.path_parameters]
