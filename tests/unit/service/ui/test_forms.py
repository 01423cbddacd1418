"""What is read of a form, and where it is parsed."""

import asyncio
import threading
from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest
from fastapi import Request
from starlette.types import Message

from service.api.errors import RefusedRequestError
from service.ui import forms
from service.ui.forms import MAX_ACTION_BYTES, read_form


def read(*parts: bytes, max_bytes: int | None = MAX_ACTION_BYTES) -> dict[str, str]:
    messages: Iterator[Message] = iter(
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    )

    async def receive() -> Message:
        return next(messages)

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    return asyncio.run(read_form(request, max_bytes=max_bytes))


@pytest.mark.parametrize("max_bytes", [100, None])
def test_fields_are_read_by_name_and_the_last_counts(max_bytes: int | None) -> None:
    assert read(b"a=1&b", b"=%C3%A4&a=2&c=", max_bytes=max_bytes) == {"a": "2", "b": "ä", "c": ""}


def test_what_is_too_large_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(b"a=" + b"x" * 98, max_bytes=100)["a"] == "x" * 98
    monkeypatch.setattr(forms, "parse_qsl", None)
    for parts in ([b"x" * 101], [b"x" * 60, b"x" * 41]):
        with pytest.raises(RefusedRequestError, match="larger than 100 bytes") as raised:
            read(*parts, max_bytes=100)
        assert raised.value.status_code == 413


def test_what_may_be_large_is_parsed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def parse(body: str, **_options: object) -> list[tuple[str, str]]:
        threads.append(threading.current_thread())
        return parse_qsl(body)

    monkeypatch.setattr(forms, "parse_qsl", parse)
    assert len(read(b"a=" + b"x" * 500_000, max_bytes=None)["a"]) == 500_000
    read(b"a=1")
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()
