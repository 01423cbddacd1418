"""File systems of fsspec, set up to ask the store that was named, once, and no other."""

import functools
from typing import Any

import fsspec

from data_shards.storage.failure import RedirectedError
from data_shards.storage.location import DRIVERS

_REDIRECTS = {301, 302, 303, 307, 308}
# With which S3 says where a bucket is that was asked for elsewhere.
_REGION = "x-amz-bucket-region"


# A file system of fsspec, which has no types.
def open_file_system(scheme: str, *, connect_s: float, read_s: float) -> Any:
    """Return the driver's file system, which waits so long to connect and between two packets.

    Raises ImportError where the driver is not installed.
    """
    driver, _ = DRIVERS[scheme]
    options: dict[str, Any] = {"use_listings_cache": False}
    if driver == "s3":
        options["config_kwargs"] = {
            "connect_timeout": connect_s,
            "read_timeout": read_s,
            # Tries are counted by the caller, for every store alike.
            "retries": {"total_max_attempts": 1},
            "http_session_cls": _straight_session(),
        }
    system = fsspec.filesystem(driver, **options)
    if driver == "s3":
        system.retries = 1
    return system


@functools.cache
def _straight_session() -> Any:
    """Return aiobotocore's session, but that it follows no redirect.

    As it comes it would ask whatever address an answer names, inside the network of whoever reads:
    the operator's roots would say nothing. Stores of S3 redirect by region, which botocore does.
    """
    from aiobotocore.httpsession import AIOHTTPSession  # noqa: PLC0415

    class StraightSession(AIOHTTPSession):  # type: ignore[misc, unused-ignore]
        async def _get_session(self, proxy_url: Any) -> Any:
            return _Straight(await super()._get_session(proxy_url))

    return StraightSession


class _Straight:
    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> Any:
        answer = await self._session.request(method, allow_redirects=False, **options)
        # botocore would ask for the bucket's region by HEAD, of which it would ask again by HEAD,
        # as deep as Python goes.
        if method == "HEAD" and answer.status in _REDIRECTS and _REGION not in answer.headers:
            answer.close()
            raise RedirectedError(f"HTTP {answer.status}")
        return answer
