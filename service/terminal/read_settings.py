"""Settings of the service, for the commands that need more than its address."""

import re
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
    from pydantic_settings import SettingsError  # noqa: PLC0415

    from service.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**given)
    except SettingsError as error:
        # Its words name the field alone, and what it is raised from may show a password.
        field = re.search(r'field "(\w+)"', str(error))
        name = f"ALEXNET_{field[1].upper()}: " if field else ""
        mend = """write it as JSON, such as '["/data", "s3://bucket/sets"]'"""
        raise WrongSettingError(f"{name}this is no list; {mend}") from None
    except ValidationError as error:
        # Settings that follow from a wrong one are wrong with it; only the first is to mend.
        wrong = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        raise WrongSettingError("\n".join(map(_told, wrong))) from error


def _told(details: Any) -> str:
    field = "_".join(str(part) for part in details["loc"]).upper()
    message = str(details["msg"]).removeprefix("Value error, ")
    return f"ALEXNET_{field}: {message}" if field else message
