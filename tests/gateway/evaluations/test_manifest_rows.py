"""Rows of manifests: what they say, and what is said of each thing that is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway.evaluations.manifests import Format, jsonl
from services.gateway.evaluations.model import EvaluationItem, ItemResult, Prompts
from services.gateway.profiles.model import PictureInput
from tests.gateway.evaluations.manifesting import inline
from tests.gateway.evaluations.manifesting import jsonl as lines
from tests.gateway.evaluations.reading import error_of, only, read, table

HASH = "0a" * 32


@pytest.mark.parametrize("make", [lines, table])
def test_rows_say_the_same_as_lines_and_as_columns(make: Any) -> None:
    rows = [
        {"item_id": "a", "group": "g", "system": "s", "prompts": ["x", "y"], "seed": 7, "image": None},
        {"item_id": "b", "group": "", "system": "", "prompts": None, "seed": None, "image": HASH},
    ]
    first, second = read(make(rows))
    assert isinstance(first, EvaluationItem) and isinstance(second, EvaluationItem)
    assert (first.offset, first.item_id, first.group, first.system) == (0, "a", "g", "s")
    assert first.subject == Prompts(("x", "y"), 7)
    assert (second.offset, second.subject) == (1, PictureInput(None, HASH))


def test_pictures_come_as_bytes_base64_or_hashes() -> None:
    item = only(lines([{"item_id": "a", "target": inline(b"t"), "image": {"content_hash": HASH}, "text": "x"}]))
    assert (item.target, item.subject, item.text) == (PictureInput(b"t"), PictureInput(None, HASH), "x")
    item = only(table([{"item_id": "a", "target": b"t", "image": {"bytes": b"i", "path": "/a.png"}}]))
    assert (item.target, item.subject) == (PictureInput(b"t"), PictureInput(b"i"))


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("{", "line", "is not JSON"),
        ("[1]", "line", "no object"),
        ('{"item_id": NaN}', "line", "NaN is no JSON"),
        ("[" * 50_000, "line", "is not JSON"),
        ('{"item_id": 1}', "item_id", "is 1, no text"),
        ('{"prompt": "x", "prompts": ["y"]}', "prompt", "together with prompts"),
        ('{"prompts": "x"}', "prompts", "no list of texts"),
        ('{"prompts": ["x", 1]}', "prompts", "no list of texts"),
        ('{"prompt": "x", "seed": -1}', "seed", "is -1"),
        ('{"prompt": "x", "seed": true}', "seed", "is True"),
        ('{"seed": 1}', "seed", "without prompts"),
        (f'{{"prompt": "x", "image": "{HASH}"}}', "image", "together with prompts"),
        ('{"image": "https://example.com/a.png"}', "image", "nothing is fetched"),
        ('{"image": "/etc/passwd"}', "image", "is not a content hash"),
        ('{"image": {"path": "a.png"}}', "image", "is no picture"),
        ('{"image": {"data": "!"}}', "image.data", "is not base64"),
        ('{"image": {"data": "", "content_hash": ""}}', "image", "is no picture"),
        (r'{"item_id": "\ud800"}', "line", "surrogate"),
        (r'{"item_id": "a", "\udc00": 1}', "line", "surrogate"),
        (r'{"pic\u0000ture": 1}', "picture", "is no field"),
        ('{"picture": 1}', "picture", "is no field of an item; allowed: item_id"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: str, field: str, said: str) -> None:
    found, message = error_of(b"\n" + line.encode(), Format.JSONL)
    assert found == field and said in message and message.startswith("line 2: ")


def test_a_line_that_is_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    long, good = read(lines([{"item_id": "a" * 5000}, {"item_id": "b", "prompt": "x"}]))
    assert isinstance(long, ItemResult) and long.error is not None and "is too long" in long.error.error.message
    assert isinstance(good, EvaluationItem) and good.item_id == "b"
    exact = json.dumps({"item_id": "a", "prompt": ""})
    row = json.dumps({"item_id": "a", "prompt": "x" * (100 - len(exact))})
    assert len(row) == 100
    assert isinstance(read(row.encode() + b"\n")[0], EvaluationItem)


def test_a_picture_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.evaluations.manifests.rows.MAX_BYTES", 10)
    assert error_of(lines([{"image": inline(b"x" * 11)}]))[0] == "image.data"
    assert only(lines([{"image": inline(b"x" * 10)}])).subject == PictureInput(b"x" * 10)
