"""Numbers and moments that attempts tell, bounded by what the store keeps of them."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_STEP = 2**31 - 1
Step = Annotated[int, Field(ge=0, le=MAX_STEP)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


def _is_of_a_year(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("in UTC it is not within the years 1 to 9999") from None
    return moment


Moment = Annotated[datetime, AfterValidator(_is_of_a_year)]
