"""Settings of the service, for the commands that need more than its address."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from service.errors import UserError

if TYPE_CHECKING:
    from service.settings import Settings


class WrongSettingError(UserError):
    """A setting is not as it must be; the message names its variable."""


def read_settings(**given: Any) -> "Settings":
    """Return the settings of the environment, but for those given. Raises WrongSettingError."""
    # Loaded only where it is needed: the other commands start faster.
    from service.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**given)
    except ValidationError as error:
        # Settings that follow from a wrong one are wrong with it; only the first is to mend.
        wrong = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        raise WrongSettingError("\n".join(map(_told, wrong))) from error


def _told(details: Any) -> str:
    field = "_".join(str(part) for part in details["loc"]).upper()
    message = str(details["msg"]).removeprefix("Value error, ")
    return f"ALEXNET_{field}: {message}" if field else message
