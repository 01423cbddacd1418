"""File systems of fsspec, set up to ask the store that was named, once, and no other."""

import functools
from typing import Any

import fsspec

from data_shards.storage.failure import REDIRECTS, RedirectedError
from data_shards.storage.location import DRIVERS

# With which S3 says where a bucket is that was asked for elsewhere.
_REGION = "x-amz-bucket-region"


class UnheldDriverError(Exception):
    """A driver of this release cannot be kept from following redirects."""


# A file system of fsspec, which has no types.
def open_file_system(scheme: str, *, connect_s: float, read_s: float) -> Any:
    """Return the driver's file system, which waits so long to connect and between two packets.

    No redirect is followed: whatever address an answer names would be asked, inside the network of
    whoever reads, and the operator's roots would say nothing. Raises ImportError where the driver
    is not installed, UnheldDriverError where it would follow them.
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
    elif driver == "gs":
        options["session_kwargs"] = {"trace_configs": [_refusing_redirects()]}
    system = fsspec.filesystem(driver, **options)
    if driver == "s3":
        system.retries = 1
    elif driver == "gs":
        # A release that does not know of it would pass it over.
        if getattr(system, "session_kwargs", None) != options["session_kwargs"]:
            raise UnheldDriverError
    elif driver == "az":
        _forbid_redirects(system)
    return system


@functools.cache
def _refusing_redirects() -> Any:
    """Return what has aiohttp's session, as gcsfs makes it, raise RedirectedError.

    An answer without an address is none to follow: with 308 Google's stores say how much they have
    of an upload.
    """
    import aiohttp  # noqa: PLC0415

    async def refuse(_session: Any, _context: Any, told: Any) -> None:
        answer = told.response
        if "Location" in answer.headers or "URI" in answer.headers:
            answer.close()
            raise RedirectedError(f"HTTP {answer.status}")

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


def _forbid_redirects(system: Any) -> None:
    """Have the client of Azure, as adlfs makes it, hand over a redirect as an error."""
    pipeline = getattr(getattr(system, "service_client", None), "_pipeline", None)
    policies = [
        policy
        for policy in getattr(pipeline, "_impl_policies", ())
        if hasattr(policy, "configure_redirects")
    ]
    if not policies:
        raise UnheldDriverError
    for policy in policies:
        policy.allow = False


@functools.cache
def _straight_session() -> Any:
    """Return aiobotocore's session, but that it follows no redirect.

    Stores of S3 redirect by region, which botocore does.
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
        if method == "HEAD" and answer.status in REDIRECTS and _REGION not in answer.headers:
            answer.close()
            raise RedirectedError(f"HTTP {answer.status}")
        return answer
