"""The shipped vocabulary file is the world's."""

from __future__ import annotations

from world import vocabulary as v
from world.captions import canonical, parse
from world.export_vocabulary import PATH, content, text


def test_the_shipped_vocabulary_is_in_sync() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run python -m world.export_vocabulary"


def test_no_wording_means_two_things() -> None:
    phrases = [kind.name for kind in v.KINDS] + [synonym for kind in v.KINDS for synonym in kind.synonyms]
    for table in (v.COLOURS, v.SIZES, v.POSITIONS, v.QUALITIES, v.BACKGROUNDS, v.STYLES):
        for entry in table:
            phrases += [entry.phrase, *entry.synonyms]
    assert len(phrases) == len(set(phrases))


def test_kinds_are_single_words_and_a_third_of_them_is_tintable() -> None:
    assert len(v.KINDS) == len(v.KIND_BY_NAME) == 48
    assert all(name.isalpha() for name in v.KIND_NAMES)
    assert sum(kind.tintable for kind in v.KINDS) == 16


def test_a_kind_is_named_by_no_other_wording() -> None:
    for kind in v.KINDS:
        others = [synonym for other in v.KINDS if other is not kind for synonym in other.synonyms]
        assert not any(kind.name in synonym.split() for synonym in others), kind.name


def test_the_examples_are_canonical_and_one_has_three_objects() -> None:
    canonical_part = content()["canonical"]
    scenes = [parse(example) for example in canonical_part["examples"]]
    assert [len(scene.objects) for scene in scenes if scene] == [1, 2, 3]
    assert [canonical(scene) for scene in scenes if scene] == canonical_part["examples"]
    for form, count in (("single", 1), ("pair", 2), ("triple", 3)):
        assert canonical_part[form].count("{object}") == count
