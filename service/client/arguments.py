"""What is asked for, checked before it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from service.errors import UserError


class WrongArgumentError(UserError):
    """The service would refuse what is asked for; the message names each field."""


@contextmanager
def named_by_field() -> Iterator[None]:
    """Tell what of a request is wrong as the service does. Raises WrongArgumentError."""
    try:
        yield
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise WrongArgumentError("\n".join(["this cannot be asked for:", *lines])) from error


def checked_key(key: str) -> str:
    """Return an idempotency key that can be sent. Raises WrongArgumentError."""
    if not key or not all("!" <= one <= "~" for one in key):
        raise WrongArgumentError(
            f"the idempotency key {key!r} cannot be sent: it is up to 128 visible ASCII characters"
        )
    return key
