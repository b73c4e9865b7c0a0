"""The shipped vocabulary file is the world's."""

from __future__ import annotations

from world import vocabulary as v
from world.export_vocabulary import PATH, text


def test_the_shipped_vocabulary_is_in_sync() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run python -m world.export_vocabulary"


def test_no_wording_means_two_things() -> None:
    phrases = [kind.name for kind in v.KINDS] + [synonym for kind in v.KINDS for synonym in kind.synonyms]
    for table in (v.COLOURS, v.SIZES, v.POSITIONS, v.QUALITIES, v.BACKGROUNDS, v.STYLES):
        for entry in table:
            phrases += [entry.phrase, *entry.synonyms]
    assert len(phrases) == len(set(phrases))
