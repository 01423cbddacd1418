from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st

from tests.whole_api.asking import WholeApi
from tests.whole_api.cases import one_field_otherwise, places_in

DOCUMENT = {"name": "a", "data": {"steps": [1, 2.5], "more": {}}, "private": False}


@given(changed=one_field_otherwise(DOCUMENT))
def test_one_field_of_a_copy_is_otherwise(changed: dict[str, Any]) -> None:
    fields = {key for key in DOCUMENT | changed if DOCUMENT.get(key, ...) != changed.get(key, ...)}
    assert len(fields) <= 1
    assert len(places_in(DOCUMENT)) == 7


@given(st.data())
def test_whatever_is_at_a_place_may_be_replaced(data: st.DataObject) -> None:
    assert data.draw(one_field_otherwise({})) != {}


def test_an_operation_that_cannot_be_loaded_is_not_left_out() -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "a", "version": "1"},
        "paths": {"/jobs": {"get": {"parameters": [{"$ref": "#/none"}], "responses": {}}}},
    }
    with pytest.raises(AssertionError, match="this is no operation"):
        WholeApi(schemathesis.openapi.from_dict(document), [])
