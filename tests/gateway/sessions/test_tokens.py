"""Cursors and page tokens."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from services.common.errors import InvalidInputError
from services.gateway.sessions import tokens
from services.gateway.sessions.tokens import decode_cursor, decode_page_token, encode_cursor, encode_page_token


@pytest.mark.parametrize("sequence", [0, 1, 10**15])
def test_cursor_survives(sequence: int) -> None:
    assert decode_cursor("abc", encode_cursor("abc", sequence)) == sequence


def test_empty_cursor_is_the_beginning() -> None:
    assert decode_cursor("abc", "") == 0


@pytest.mark.parametrize(
    "text", ["", "c1", "c1:abc", "c1:abc:-1", "c1:abc:1:2", "c2:abc:1", "c1:abc:x", "c1:abc:" + "9" * 30]
)
def test_nonsense_in_a_cursor(text: str) -> None:
    cursor = tokens._encode(text)
    with pytest.raises(InvalidInputError) as caught:
        decode_cursor("abc", cursor)
    assert caught.value.field == "after_cursor"


def test_cursor_of_another_session() -> None:
    with pytest.raises(InvalidInputError, match="another session"):
        decode_cursor("abc", encode_cursor("abd", 1))


def test_unsigned_text_is_no_cursor() -> None:
    plain = base64.urlsafe_b64encode(b"c1:abc:1").decode()
    with pytest.raises(InvalidInputError):
        decode_cursor("abc", plain)


def test_only_one_spelling_of_a_cursor() -> None:
    cursor = encode_cursor("abc", 12)
    for other in (cursor + "=", cursor + "\n", " " + cursor, cursor[:-1]):
        with pytest.raises(InvalidInputError):
            decode_cursor("abc", other)


def test_page_token_keeps_microseconds() -> None:
    time = datetime(2026, 11, 21, 3, 4, 5, 678901, UTC)
    assert decode_page_token(encode_page_token(time, "abc")) == (time, "abc")
    assert decode_page_token("") is None


@pytest.mark.parametrize("token", ["x", "\u00e9", "cDE6", "A" * 1000])
def test_nonsense_in_a_page_token(token: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_page_token(token)
    assert caught.value.field == "page_token"
