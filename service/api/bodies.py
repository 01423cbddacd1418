"""How much may be in a body that is not too large: what is wrong with each value is told of it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import RefusedRequestError
from service.problems import ProblemType

# A report of 500 events, the most there is, has some 20,000. Each that is wrong takes a kilobyte
# of memory (measured) until the answer is made.
MAX_VALUES = 50_000


class ValueLimitMiddleware:
    """Refuses bodies of more values than any request needs, by the commas between them.

    Within the application's handlers: the refusal is raised where the body is read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count as its body comes."""
        num_commas = 0

        async def count() -> Message:
            nonlocal num_commas
            message = await receive()
            num_commas += message.get("body", b"").count(b",")
            if num_commas >= MAX_VALUES:
                raise RefusedRequestError(
                    ProblemType.TOO_LARGE,
                    f"the body has more than {MAX_VALUES:,} values, which no request needs; send "
                    "less",
                )
            return message

        await self._app(scope, count, send)
