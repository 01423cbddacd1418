"""File systems of fsspec, set up to ask the store that was named, once, and no other."""

import functools
from typing import Any

import fsspec

from data_shards.storage.location import DRIVERS


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
        self.request = functools.partial(session.request, allow_redirects=False)
