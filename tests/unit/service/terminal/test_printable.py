import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from service.terminal.printable import printable


@given(st.text())
def test_no_control_character_comes_through(text: str) -> None:
    shown = printable(text)
    kinds = {unicodedata.category(character) for character in shown if character not in "\n\t"}
    assert "Cc" not in kinds
    assert shown.count("\n") == text.count("\n")


def test_colours_are_left_out() -> None:
    assert printable("\x1b[36m(Worker pid=1)\x1b[0m \x1b[1;31mred\x1b[K") == (
        "(Worker pid=1) red\\x1b[K"
    )


def test_escapes_say_what_was_there() -> None:
    assert printable("a\x1b[2Jb\x9bc\r\nd\re\u202ef\té") == ("a\\x1b[2Jb\\x9bc\nd\\x0de\\u202ef\té")
