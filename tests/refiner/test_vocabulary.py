from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import Reason, UnavailableError
from services.common.profile import ROOT
from services.refiner.vocabulary import Vocabulary, load_vocabulary, read_vocabulary
from world import export_vocabulary
from world import vocabulary as world
from world.scene import MOST_OBJECTS


def test_has_every_word_of_the_world(vocabulary: Vocabulary) -> None:
    assert [kind.name for kind in vocabulary.kinds] == list(world.KIND_NAMES)
    assert [term.name for term in vocabulary.colors] == list(world.COLOUR_NAMES)
    assert [term.phrase for term in vocabulary.backgrounds] == [b.phrase for b in world.BACKGROUNDS]
    assert {style.name for style in vocabulary.styles if style.has_colors} == world.COLOURED_STYLES
    assert vocabulary.kind("car").tintable  # type: ignore[union-attr]


def test_takes_the_most_objects_from_the_forms_of_captions(vocabulary: Vocabulary) -> None:
    assert vocabulary.most_objects == MOST_OBJECTS
    content = export_vocabulary.content()
    del content["canonical"]["triple"]
    assert read_vocabulary(content).most_objects == 2


def test_reads_the_file_that_ships() -> None:
    shipped = load_vocabulary(ROOT / "models")
    assert shipped.most_objects in (2, MOST_OBJECTS)
    assert shipped.kind("car") is not None


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_refuses_a_missing_or_foreign_file(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(UnavailableError) as caught:
        load_vocabulary(tmp_path)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert str(tmp_path) not in caught.value.message
