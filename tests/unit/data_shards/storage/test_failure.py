"""Errors as the drivers make them, of their real classes."""

import errno

import aiohttp
import pytest
from aiohttp.http_exceptions import ContentLengthError
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from s3fs.errors import translate_boto_error

from data_shards.storage.failure import ShortReadError, failure_of


def _answer(status: int, code: str) -> Exception:
    """As s3fs raises what S3 answers."""
    response = {
        "Error": {"Code": code, "Message": "as it says"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error: Exception = translate_boto_error(ClientError(response, "GetObject"))
    return error


def _cut_short() -> Exception:
    """As aiohttp raises an answer that breaks off."""
    error = aiohttp.ClientPayloadError("Response payload is not completed")
    error.__cause__ = ContentLengthError("Not enough data")
    assert error.__cause__.code == 400
    return error


@pytest.mark.parametrize(
    "error",
    [
        _answer(503, "SlowDown"),
        _answer(503, "ServiceUnavailable"),
        _answer(500, "InternalError"),
        _answer(502, "502"),
        _answer(429, "TooManyRequests"),
        _answer(408, "RequestTimeout"),
        ConnectTimeoutError(endpoint_url="x"),
        ReadTimeoutError(endpoint_url="x"),
        EndpointConnectionError(endpoint_url="x"),
        _cut_short(),
        aiohttp.ServerDisconnectedError(),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError(),
        OSError(errno.EHOSTUNREACH, "no route"),
        ShortReadError("1 of 2"),
    ],
    ids=repr,
)
def test_what_may_pass_is_worth_another_try(error: Exception) -> None:
    assert failure_of(error).may_pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_answer(400, "InvalidBucketName"), "HTTP 400: as it says"),
        (_answer(501, "NotImplemented"), "HTTP 501"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (ValueError("<html>\n <p>" + "x" * 999), "<html> <p>x"),
        (KeyError(), "KeyError"),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_said_at_once(error: Exception, words: str) -> None:
    failure = failure_of(error)
    assert not failure.may_pass
    assert not failure.is_denied
    assert words in failure.reason
    assert len(failure.reason) < 300


class RefreshError(Exception):
    """As google's driver raises that a key was revoked."""


class HttpError(Exception):
    """As gcsfs raises what it was answered."""

    code = 401


class ClientAuthenticationError(Exception):
    """As azure's raises it."""

    status_code = 403


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_answer(403, "AccessDenied"), "access was denied (HTTP 403: as it says)"),
        (_answer(403, "InvalidAccessKeyId"), "access was denied"),
        (_answer(403, "SignatureDoesNotMatch"), "access was denied"),
        (_answer(403, "403"), "access was denied"),
        (_answer(401, "Unauthorized"), "access was denied"),
        (_answer(400, "ExpiredToken"), "access was denied (HTTP 400"),
        (_answer(400, "InvalidToken"), "access was denied"),
        # Of HEAD, whose answers have no words.
        (_answer(400, "400"), "access was denied"),
        (PartialCredentialsError(provider="env", cred_var="key"), "no usable credentials"),
        (ProfileNotFound(profile="train"), "no usable credentials"),
        (OSError("Forbidden: https://storage.googleapis.com/b/o\nno objects.get"), "access was"),
        (HttpError("Anonymous caller"), "access was denied (HTTP 401"),
        (RefreshError("invalid_grant"), "no usable credentials"),
        (ClientAuthenticationError("wrong key"), "access was denied (HTTP 403"),
    ],
    ids=repr,
)
def test_who_is_not_let_in_is_told_so(error: Exception, words: str) -> None:
    failure = failure_of(error)
    assert failure.is_denied
    assert not failure.may_pass
    assert words in failure.reason
    assert "credentials" in failure.mend


def _unreached(error: Exception) -> Exception:
    """As google's driver wraps what became of its question to the metadata server."""
    error.__cause__ = ConnectionError("metadata.google.internal")
    return error


class DefaultCredentialsError(Exception):
    """As google's driver raises where it finds none."""


class CredentialUnavailableError(ClientAuthenticationError):
    """As azure's driver raises where no source of credentials answers."""

    status_code = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoCredentialsError(), "credentials could not be had"),
        (CredentialRetrievalError(provider="iam", error_msg="away"), "credentials could not be"),
        (_unreached(RefreshError("metadata server")), "credentials could not be had"),
        (RefreshError("503"), "credentials could not be had"),
        (DefaultCredentialsError("none"), "credentials could not be had"),
        (CredentialUnavailableError("none"), "credentials could not be had"),
        (_answer(403, "RequestTimeTooSkewed"), "the clock of this machine is wrong (HTTP 403"),
    ],
    ids=repr,
)
def test_credentials_that_cannot_be_had_are_no_denial(error: Exception, words: str) -> None:
    failure = failure_of(error)
    assert not failure.is_denied
    assert words in failure.reason
