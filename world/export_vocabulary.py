"""Writes ``models/vocabulary.json``, the world's words for services that do not import this package.

``python -m world.export_vocabulary`` writes it, ``--check`` fails when it is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from world import vocabulary as v

PATH = Path(__file__).resolve().parents[1] / "models" / "vocabulary.json"


def _word(word: v.Word) -> dict[str, Any]:
    return {"name": word.name, "phrase": word.phrase, "synonyms": list(word.synonyms)}


def content() -> dict[str, Any]:
    """The tables as plain data."""
    return {
        "format": 1,
        "canonical": {
            "single": "{object} {position} {background}, {style}, {quality}",
            "pair": "{object} {relation} {object} {background}, {style}, {quality}",
            "triple": "{object} {relation} {object} {relation} {object} {background}, {style}, {quality}",
            "object": "{article} {size} [{colour}] {kind}",
            "examples": [
                "a small blue fish in the center over the sea, watercolor painting, high quality",
                "a large red car left of a small cat on a meadow, pixel art, high quality",
                "a large red car left of a small cat left of a small moon on a meadow, pixel art, high quality",
            ],
        },
        "groups": {group: [k.name for k in v.KINDS if k.group == group] for group in v.GROUPS},
        "kinds": [
            {"name": k.name, "group": k.group, "tintable": k.tintable, "synonyms": list(k.synonyms)} for k in v.KINDS
        ],
        "tintable": [k.name for k in v.KINDS if k.tintable],
        "colours": [_word(colour) for colour in v.COLOURS],
        "sizes": [_word(size) for size in v.SIZES],
        "positions": [_word(position) for position in v.POSITIONS],
        "relations": [
            {
                "name": r.name,
                "phrase": r.phrase,
                "inverse": r.inverse,
                "synonyms": list(r.synonyms),
                "inverse_synonyms": list(r.inverse_synonyms),
            }
            for r in v.RELATIONS
        ],
        "backgrounds": [
            {"name": b.name, "phrase": b.phrase, "terse": b.terse, "synonyms": list(b.synonyms)} for b in v.BACKGROUNDS
        ],
        "styles": [
            {
                "name": s.name,
                "phrase": s.phrase,
                "lead": s.lead,
                "synonyms": list(s.synonyms),
                "coloured": s.coloured,
            }
            for s in v.STYLES
        ],
        "qualities": [_word(quality) for quality in v.QUALITIES],
        "held_out": sorted(map(list, v.HELD_OUT)),
    }


def text() -> str:
    """The file's exact content."""
    return json.dumps(content(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check the file."""
    if "--check" in sys.argv[1:]:
        fresh = PATH.is_file() and PATH.read_text(encoding="utf-8") == text()
        print("up to date" if fresh else f"{PATH.name} is out of date: run python -m world.export_vocabulary")
        return 0 if fresh else 1
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
