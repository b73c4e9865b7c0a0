"""As much of PromQL as is needed to say which metrics an expression reads, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(
    rf"(?<![\w:$])([a-zA-Z_:][\w:]*+)(?!\s*\()\s*(?:\{{((?:[^{{}}\"]|{_STRING})*)\}})?(\s*\[[^\]]*\])?"
)
_MATCHER = re.compile(rf"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*({_STRING})")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(frozen=True)
class Use:
    """A metric in an expression: its name, the labels it is filtered by with their values, and whether over a range."""

    name: str
    matchers: tuple[tuple[str, str], ...]
    has_range: bool


def uses(expression: str) -> list[Use]:
    """Metrics that an expression reads."""
    text = _GROUPING.sub(" ", expression)
    found = []
    for name, inside, window in _SELECTOR.findall(re.sub(r"(?<=\))\s*\[[^\]]*\]", " ", text)):
        if name.lower() not in _WORDS:
            matchers = tuple((label, value[1:-1]) for label, value in _MATCHER.findall(inside))
            found.append(Use(name, matchers, bool(window)))
    return found


def grouped_by(expression: str) -> set[str]:
    """Labels that an expression groups or joins by."""
    lists = _GROUPING.findall(expression)
    return {label.strip() for one in lists for label in one.split(",") if label.strip()}
