"""`private` in a request: beside the spec, since it decides nothing about the weights. Pure."""

from collections.abc import Mapping
from typing import Any

from service.problems import FieldError, SpecRefusedError


def split_private(request: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the request without `private`, and whether it asks for it. Raises SpecRefusedError."""
    rest = dict(request)
    private = rest.pop("private", False)
    if not isinstance(private, bool):
        message = "say true, and only you and admins are told of the job; or false"
        raise SpecRefusedError([FieldError(field="private", message=message)])
    return rest, private
