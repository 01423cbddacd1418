"""What a page's form sends: read here, whole and bounded, as browsers write it."""

from urllib.parse import parse_qsl

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from service.api.errors import RefusedRequestError
from service.problems import ProblemType

# More than any form of ours has.
_MAX_FIELDS = 100
# Assumed: more than an address to lead back to and a location come to.
MAX_ACTION_BYTES = 8 << 10


async def read_form(
    request: Request, *, max_bytes: int | None = MAX_ACTION_BYTES
) -> dict[str, str]:
    """Return the fields of a form by name, of one that comes twice the last.

    `max_bytes` None: as much as a request to the API may have; that is parsed in a thread.
    Raises RefusedRequestError, before anything is parsed where there is too much.
    """
    if max_bytes is None:
        return await run_in_threadpool(_parsed, await request.body())
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            message = f"this form is larger than {max_bytes} bytes, which none of this page is"
            raise RefusedRequestError(ProblemType.TOO_LARGE, message)
    return _parsed(bytes(body))


def _parsed(body: bytes) -> dict[str, str]:
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
