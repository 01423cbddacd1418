"""By which tokens attempts report, read for all who ask at once."""

import asyncio
import contextlib
import hmac
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.reconciling.starter import sha256_of_token
from service.store.attempts import live_tokens
from service.store.store import Store

# Assumed: nobody hangs on a report that long, and a flood has the store read ten times a second.
_GATHER_S = 0.1


class AttemptTokens:
    """Tells a token of a job that is under way from one that is made up. For one event loop.

    However many are asked about, one read of the store is under way: a flood of tokens that are
    made up keeps no attempt from being told apart from it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: Mapping[tuple[str, int], str] = {}
        self._num_begun = 0
        """Reads of the store."""
        self._turn = asyncio.Lock()

    async def is_of(self, job_id: str, attempt: int, token: str) -> bool:
        """Whether a token is that of an attempt; False: not, or the store does not tell."""
        digest = sha256_of_token(token)
        if not self._knows(job_id, attempt, digest):
            await self._read_again()
        return self._knows(job_id, attempt, digest)

    def _knows(self, job_id: str, attempt: int, digest: str) -> bool:
        known = self._digests.get((job_id, attempt))
        return known is not None and hmac.compare_digest(digest, known)

    async def _read_again(self) -> None:
        """Wait for the next read; all who ask before it begins share it."""
        # One that is under way may have begun before the attempt did.
        needed = self._num_begun + 1
        async with self._turn:
            if self._num_begun >= needed:
                return
            await asyncio.sleep(_GATHER_S)
            self._num_begun += 1
            with contextlib.suppress(SQLAlchemyError):
                self._digests = await run_in_threadpool(self._store.read, live_tokens)
