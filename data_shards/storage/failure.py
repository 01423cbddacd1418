"""What an error of an object store means: that it may pass, or that who asks is not let in.

Each driver of fsspec has exceptions of its own, none of which may be imported here: they are told
by what they carry and by the names of their classes.
"""

import errno
from typing import NamedTuple

from data_shards.errors import StorageError

# Too many requests, and what servers say when they are ill or restart.
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
REDIRECTS = {301, 302, 303, 307, 308}
# As s3fs translates those; connection errors have classes of their own.
_PASSING_ERRNO = {
    errno.EBUSY,
    errno.EREMOTEIO,
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EPIPE,
}
# Bases of what goes wrong between us and the server.
_PASSING_CLASSES = {
    "HTTPClientError",  # botocore
    "ConnectionError",  # botocore's own, and the builtin one
    "IncompleteReadError",
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",
    "ServiceRequestError",  # azure
    "ServiceResponseError",
}
# What is given as credentials is wrong or not there, and stays so.
_UNUSABLE_CREDENTIALS = {"PartialCredentialsError", "ProfileNotFound"}  # botocore
_REVOKED_WORDS = "invalid_grant"  # google's RefreshError, of a key
# Drivers raise these also where a service that gives out credentials does not answer.
_CREDENTIALS_AWAY = {
    "NoCredentialsError",  # botocore
    "CredentialRetrievalError",
    "DefaultCredentialsError",  # google
    "RefreshError",
    "ClientAuthenticationError",  # azure, where the store itself has not answered
}
_WRONG_CLOCK_CODE = "RequestTimeTooSkewed"  # S3, with status 403
_DENIED_STATUS = {401, 403}
# What S3 says with status 400 of who asks. What it says of HEAD has no words, and then the status
# is the code: nothing else is wrong with a request for an object by its name.
_DENIED_CODES = {"400", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_DENIED_WORDS = "Forbidden: "  # gcsfs, in place of the status


class ShortReadError(OSError):
    """A store answered with fewer bytes than it was asked for."""


class RedirectedError(OSError):
    """A store sends who asks to another address."""


class Failure(NamedTuple):
    """What went wrong, in words."""

    reason: str
    mend: str
    may_pass: bool = False
    is_denied: bool = False
    """Whether who asks is not let in."""


def failure_of(error: Exception) -> Failure:
    """Judge an error of a driver; not FileNotFoundError, which callers know what to say of."""
    chain = _chain(error)
    names = {kind.__name__ for each in chain for kind in type(each).__mro__}
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    reason = _reason(error, status)
    of_credentials = _failure_of_credentials(chain, names, status, reason)
    if of_credentials is not None:
        return of_credentials
    if status in REDIRECTS or any(isinstance(each, RedirectedError) for each in chain):
        return Failure("it sends readers to another address", "name that one as the store's own")
    passing = (
        names & _PASSING_CLASSES
        or status in _PASSING_STATUS
        or any(isinstance(each, ShortReadError | TimeoutError) for each in chain)
        or (isinstance(error, OSError) and error.errno in _PASSING_ERRNO)
    )
    # First, since aiohttp gives its own errors a status too, that of a bad request.
    if passing:
        return Failure(reason, "see whether the store is up, and try again", may_pass=True)
    denied = (
        status in _DENIED_STATUS
        or any(_code(each) in _DENIED_CODES for each in chain)
        or isinstance(error, PermissionError)
        or (isinstance(error, OSError) and str(error).startswith(_DENIED_WORDS))
    )
    if denied:
        mend = "ask for the right, or mend the credentials"
        return Failure(f"access was denied ({reason})", mend, is_denied=True)
    return Failure(reason, "check the location, and the store's own tools against it")


def _failure_of_credentials(
    chain: list[BaseException], names: set[str], status: int | None, reason: str
) -> Failure | None:
    """Judge what is wrong before a store has looked at who asks; None: nothing is."""
    is_revoked = "RefreshError" in names and _REVOKED_WORDS in str(chain[0])
    if names & _UNUSABLE_CREDENTIALS or is_revoked:
        mend = "give this machine credentials in the way of the store's own tools"
        return Failure(f"no usable credentials were found ({reason})", mend, is_denied=True)
    if any(_code(each) == _WRONG_CLOCK_CODE for each in chain):
        return Failure(f"the clock of this machine is wrong ({reason})", "set the clock")
    if names & _CREDENTIALS_AWAY and status not in _DENIED_STATUS:
        mend = "see whether the service that gives them out is up, or give this machine credentials"
        return Failure(f"credentials could not be had ({reason})", mend)
    return None


def too_large(location: str, size: int, max_bytes: int) -> StorageError:
    """Return what is raised for a file that is larger than it may be."""
    problem = f"holds {size} bytes, more than the {max_bytes} it may"
    return StorageError(location, problem, "name the right file")


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes; drivers wrap those of the libraries below them."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        if len(chain) == 10:
            break
        chain.append(cause)
    return chain


def _status(error: BaseException) -> int | None:
    """Return the HTTP status an error carries, as botocore, gcsfs, azure and aiohttp do."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for name in ("status_code", "status", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None


def _code(error: BaseException) -> str | None:
    """Return what S3 calls an error, as botocore carries it."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) else None


def _reason(error: Exception, status: int | None) -> str:
    # One line, and never a page of HTML that some proxy answered with.
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    words = " ".join(str(said).split())[:200] or type(error).__name__
    return words if status is None else f"HTTP {status}: {words}"
