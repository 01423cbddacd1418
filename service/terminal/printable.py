"""What others printed, for a terminal: nothing in it moves the cursor or changes what is shown."""

import re

# Control characters but tab and newline, and what turns the direction of text around.
_ACTIVE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    """Return the text with all that a terminal would act on written as escapes. Pure.

    Colours, which Ray prints, are left out.
    """
    plain = _COLOUR.sub("", text).replace("\r\n", "\n")
    return _ACTIVE.sub(lambda match: _escape(match[0]), plain)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
