"""What changed between two prompts, word by word."""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

Change = Literal["same", "added", "removed"]


class Piece(NamedTuple):
    """A run of words that stayed, came or went."""

    change: Change
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """Pieces that read as `after`, with what went from `before` in its place. Punctuation counts as a word."""
    old, new = _words(before), _words(after)
    pieces: list[Piece] = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", _join(new[new_start:new_end])))
            continue
        if end > start:
            pieces.append(Piece("removed", _join(old[start:end])))
        if new_end > new_start:
            pieces.append(Piece("added", _join(new[new_start:new_end])))
    return pieces


def needs_space(text: str) -> bool:
    """Whether a piece is set off from the one before it by a space."""
    return not re.match(r"[,.;:!?)]", text)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+|[^\w\s]", text)


def _join(words: list[str]) -> str:
    return "".join((" " if index and needs_space(word) else "") + word for index, word in enumerate(words))
