"""Where the command line and the client find the token of whoever runs them."""

import os
from pathlib import Path

from service.errors import UserError

VARIABLE = "ALEXNET_TOKEN"


class CredentialsError(UserError):
    """The file with the token cannot be used; the message says what to do."""


def token_file() -> Path:
    """Return where a token is looked for: ~/.config/alexnet/token, or as XDG says."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "alexnet" / "token"


def find_token() -> str | None:
    """Return the token of ALEXNET_TOKEN, or of the file; None: neither is there.

    Raises CredentialsError.
    """
    if token := os.environ.get(VARIABLE, "").strip():
        return token
    file = token_file()
    try:
        mode = file.stat().st_mode
        token = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{file} cannot be read as a token: {error}") from error
    if mode & 0o077:
        raise CredentialsError(f"{file} may be read by others; chmod 600 it, and make a new token")
    return token or None
