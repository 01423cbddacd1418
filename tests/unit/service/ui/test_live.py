"""What a page is told of changes."""

import json

from service.ui.live import Change, frame_of


def test_a_change_is_one_message_whatever_its_text_holds() -> None:
    change = Change(
        kind="fragment", target="a", html="<p>one\n\ndata: two\r\nevent: evil</p>", into="b"
    )
    lines = frame_of(change).decode().strip().split("\n")
    assert lines[0] == "event: fragment"
    assert len(lines) == 2
    told = json.loads(lines[1].removeprefix("data: "))
    assert told == {"target": "a", "html": change.html, "into": "b"}


def test_what_a_change_has_not_is_left_out() -> None:
    gone = frame_of(Change(kind="gone", target="a")).decode()
    assert json.loads(gone.partition("data: ")[2]) == {"target": "a"}
