"""Who sent the request that is being answered, for answers that take long."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self, TypeVar

from starlette.types import Scope

from service.access.caller import Caller, ForbiddenError, UnidentifiedError

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A token, or an address that sends none. The middleware of `api.access` puts it there."""

    key: str | None
    """Under which streams and downloads are counted; None: no tokens are asked for, and all that
    is sent from its address may be anyone's."""
    identify: Callable[[], Awaitable[Caller | Exception]]
    """Tells anew who asks, or why that is not known."""

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """Return the sender of a request."""
        sender = scope["state"]["sender"]
        assert isinstance(sender, cls)
        return sender

    async def check(self) -> None:
        """Raise UnidentifiedError or ForbiddenError where the sender would no longer be let in.

        A store that does not answer tells nothing against a token.
        """
        identity = await self.identify()
        if isinstance(identity, UnidentifiedError | ForbiddenError):
            raise identity


async def while_let_in(
    items: AsyncGenerator[Item], sender: Sender, *, every_s: float, last: Item | None = None
) -> AsyncIterator[Item]:
    """Yield items until the sender's token is revoked or expires, which is looked up so often.

    That is seen when an item comes, so that some must come although there is nothing to tell.
    `last` is yielded then, unless it is None: where whoever reads could take it for the end.
    """
    checked_at = time.monotonic()
    async with aclosing(items) as coming:
        async for item in coming:
            if time.monotonic() - checked_at >= every_s:
                try:
                    await sender.check()
                except (UnidentifiedError, ForbiddenError):
                    if last is not None:
                        yield last
                    return
                checked_at = time.monotonic()
            yield item
