"""What an attempt may tell: nothing that a store could not keep."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from trainer.contract.bounds import MAX_STEP, Count, Moment, Step


@pytest.mark.parametrize(("kind", "most"), [(Step, MAX_STEP), (Count, 2**63 - 1)])
def test_a_number_is_within_what_columns_hold(kind: Any, most: int) -> None:
    adapter: TypeAdapter[int] = TypeAdapter(kind)
    assert [adapter.validate_python(number) for number in (0, most)] == [0, most]
    for number in (-1, most + 1):
        with pytest.raises(ValidationError):
            adapter.validate_python(number)


def test_a_moment_has_a_year_in_utc() -> None:
    adapter: TypeAdapter[object] = TypeAdapter(Moment)
    adapter.validate_python("0001-01-01T00:00:00Z")
    adapter.validate_python("9999-12-31T23:59:59.999999Z")
    for moment in ("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"):
        with pytest.raises(ValidationError, match="years 1 to 9999"):
            adapter.validate_python(moment)
