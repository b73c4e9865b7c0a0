"""Cue words of feedback that the vocabulary does not hold: comparisons, negations, additions, moves."""

from __future__ import annotations

import re

COMPARISONS: tuple[tuple[str, str, str], ...] = (
    (r"bigger|larger|increase(?:d)?(?: in)? size|enlarge(?:d)?|grow", "size", "large"),
    (r"smaller|shrink|shrunk|tinier", "size", "small"),
    (
        r"sharper|crisper|clearer|sharp|clear|better quality|higher quality|more detail(?:s|ed)?|higher resolution",
        "quality",
        "high",
    ),
    (r"blurrier|more blurry|worse quality|lower quality|less detail(?:s|ed)?", "quality", "low"),
    (r"higher|further up|farther up|more to the top", "position", "top"),
    (r"lower|further down|farther down|more to the bottom", "position", "bottom"),
    (r"cent(?:er|re)d|cent(?:er|re)|in the middle|middle", "position", "center"),
    (r"to the left|further left|farther left|leftmost|left side|left", "position", "left"),
    (r"to the right|further right|farther right|rightmost|right side|right", "position", "right"),
    (r"to the top|top|upper part", "position", "top"),
    (r"to the bottom|bottom|lower part", "position", "bottom"),
)
"""(pattern, category, value): comparative words and bare places, as people say them about a picture."""

REMOVE = re.compile(
    r"\b(?:remove|delete|drop|without|get rid of|take (?:away|out)|no more|lose|erase|omit|no|not|isn't|is not"
    r"|don't want|do not want|shouldn't be|should not be)\b",
    re.IGNORECASE,
)
ADD = re.compile(
    r"\b(?:add|include|insert|with|also|missing|there (?:should|must) be|there is|there's|plus|another)\b",
    re.IGNORECASE,
)
ANY_ONE = re.compile(r"(?:an?|another|one)\b", re.IGNORECASE)
INSTEAD = re.compile(r"^(?P<new>.*?)\b(?:instead of|rather than|in place of|not)\b(?P<old>.*)$", re.IGNORECASE)
NOT_BUT = re.compile(r"\bnot\b(?P<old>.*?)\bbut\b(?P<new>.*)$", re.IGNORECASE)
REPLACE = re.compile(
    r"\b(?:replace|swap|exchange|substitute|change|turn|convert|make)\b(?P<old>.*?)\b(?:with|by|for|into|to)\b(?P<new>.*)$",
    re.IGNORECASE,
)
SHOULD_BE = re.compile(
    r"^(?P<old>.*?)\b(?:should (?:rather |really |actually )?(?:be|become)|must be|needs to be|ought to be"
    r"|is (?:really |actually )?)\b(?P<new>.*)$",
    re.IGNORECASE,
)
SWAP = re.compile(r"\b(?:swap|switch|exchange|flip)\b|\bthe other way (?:a)?round\b", re.IGNORECASE)
BETWEEN = re.compile(r"\bbetween\b", re.IGNORECASE)
PLACED = re.compile(
    r"\bthe (?:(?P<place>left|right|top|bottom|upper|lower|middle|cent(?:er|re)|first|second|third|last)(?:most)?"
    r" (?:one|object|thing)"
    r"|(?:one|object|thing) (?:on|at|in) the (?P<side>left|right|top|bottom|middle|cent(?:er|re)))\b",
    re.IGNORECASE,
)
"""An object named by its place in a row: "the middle one", "the object on the left"."""
TOO = re.compile(r"\b(?:too|less|not so|not as|not that)\s+(?P<word>\w+)", re.IGNORECASE)

_FILLER_WORDS = """
a an the it its this that these those please just maybe rather really very more much bit little make makes made be is
are was should must could would can need needs to i we you want wanted like looks look image picture drawing in of as
add with there also but and so do does have has get show instead not no yes ok hmm well than one on at missing
background style object
"""
FILLERS = frozenset(_FILLER_WORDS.split())
"""Words that carry no content of their own."""
LEAD_IN = re.compile(
    r"^(?:(?:please|no|yes|ok|well|hmm|maybe|just|now|and|but|also|it|that|this|the (?:image|picture|drawing)|i|we|you"
    r"|would|want|like|prefer|should|must|could|can|needs?|to|be|have|has|make|makes|show|add|include|with|more|look|looks"
    r"|there|is|are)\b[\s,:]*)+",
    re.IGNORECASE,
)
"""What may stand before the content of a wish: "please make it look"."""
