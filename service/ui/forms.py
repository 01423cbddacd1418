"""What a page's form sends: read here, whole and bounded, as browsers write it."""

from urllib.parse import parse_qsl

from fastapi import Request

from service.api.errors import RefusedRequestError
from service.problems import ProblemType

# More than any form of ours has.
_MAX_FIELDS = 100


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form by name, of one that comes twice the last.

    Raises RefusedRequestError. The body is bounded before this.
    """
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        message = "this is no form of this page; load it again"
        raise RefusedRequestError(ProblemType.INVALID_REQUEST, message) from error
    return dict(pairs)
