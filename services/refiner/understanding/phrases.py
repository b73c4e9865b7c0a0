"""Changes of phrases in a text that keep its articles, commas and "and" in order."""

from __future__ import annotations

import re

from services.refiner.understanding.scene_prompt import with_article


def appended(text: str, words: str) -> str:
    """The text with the words at its end, unless it says them already."""
    if not words or re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE):
        return text
    head = text.rstrip().rstrip(",;")
    return f"{head}, {words}" if head else words


def replaced(text: str, start: int, end: int, words: str) -> str:
    """The text with text[start:end] exchanged for the words."""
    return fix_article(text[:start] + words + text[end:], start)


def fix_article(text: str, start: int) -> str:
    """Makes the "a" or "an" directly before `start` fit the next word."""
    match = re.search(r"\b(an?)(\s+)$", text[:start], re.IGNORECASE)
    following = re.match(r"\w+", text[start:])
    if match is None or following is None:
        return text
    article = with_article(following[0]).split()[0]
    article = article.capitalize() if match[1][0].isupper() else article
    return text[: match.start(1)] + article + text[match.end(1) :]


def cut(text: str, start: int, end: int) -> str:
    """Removes text[start:end] with the comma or "and" that it leaves behind; never empties a prompt."""
    before, after = text[:start].rstrip(), text[end:].lstrip()
    before = re.sub(r"(?:\band|\bwith)$", "", before, flags=re.IGNORECASE).rstrip()
    if not before or before.endswith((",", ";")):
        after = re.sub(r"^(?:and\b|with\b|[,;])\s*", "", after, flags=re.IGNORECASE)
    before = before.rstrip(",; ") if not after or after.startswith((",", ";", ".")) else before
    glue = " " if before and after and not after.startswith((",", ";", ".")) else ""
    return fix_article(f"{before}{glue}{after}", len(before) + len(glue)) or text


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is a whole item of a list, so that it can go without breaking a sentence."""
    before, after = text[:start].rstrip().lower(), text[end:].strip().lower()
    opens = not before or re.search(r"(?:[,;]|\band|\bwith)$", before) is not None
    return opens and (not after or re.match(r"[,;.]|and\b", after) is not None)


def without_phrase(text: str, words: str) -> str:
    """Removes a phrase where it stands alone between commas; elsewhere it may hold a sentence together."""
    wanted = re.sub(r"^(?:an?|the)\s+", "", words.strip().lower())
    parts = text.split(",")
    kept = [part for part in parts if re.sub(r"^(?:an?|the)\s+", "", part.strip().lower()) != wanted]
    return ",".join(kept).strip() if wanted and 0 < len(kept) < len(parts) else text
