"""Which tokens are live, read for all who ask at once."""

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.store.store import Store

# Assumed: nobody hangs on a request that long, and a flood has the store read ten times a second.
_GATHER_S = 0.1

Key = TypeVar("Key", bound=Hashable)


class LiveTokens(Generic[Key]):
    """Tells a token that is live from one that is made up. For one event loop.

    However many are asked about, one read of the store is under way: a flood of tokens that are
    made up keeps none from being told apart from it.
    """

    def __init__(self, store: Store, read: Callable[[Connection], Mapping[Key, str]]) -> None:
        """`read` tells the digests of all that are live, by whose they are."""
        self._store = store
        self._read = read
        self._digests: Mapping[Key, str] = {}
        self._num_begun = 0
        """Reads of the store."""
        self._turn = asyncio.Lock()

    async def is_of(self, key: Key, digest: str) -> bool:
        """Whether a token of this digest is, or lately was; False: not, or the store is away."""
        if not self._knows(key, digest):
            await self._read_again()
        return self._knows(key, digest)

    def _knows(self, key: Key, digest: str) -> bool:
        known = self._digests.get(key)
        return known is not None and hmac.compare_digest(digest, known)

    async def _read_again(self) -> None:
        """Wait for the next read; all who ask before it begins share it."""
        # One that is under way may have begun before the token did.
        needed = self._num_begun + 1
        async with self._turn:
            if self._num_begun >= needed:
                return
            await asyncio.sleep(_GATHER_S)
            self._num_begun += 1
            with contextlib.suppress(SQLAlchemyError):
                self._digests = await run_in_threadpool(self._store.read, self._read)
