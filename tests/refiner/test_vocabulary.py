from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import Reason, UnavailableError
from services.refiner.vocabulary import Vocabulary, load_vocabulary
from world import vocabulary as world


def test_has_every_word_of_the_world(vocabulary: Vocabulary) -> None:
    assert [kind.name for kind in vocabulary.kinds] == list(world.KIND_NAMES)
    assert [term.name for term in vocabulary.colors] == list(world.COLOUR_NAMES)
    assert [term.phrase for term in vocabulary.backgrounds] == [b.phrase for b in world.BACKGROUNDS]
    assert {style.name for style in vocabulary.styles if style.has_colors} == world.COLOURED_STYLES
    assert vocabulary.kind("car").tintable  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_refuses_a_missing_or_foreign_file(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(UnavailableError) as caught:
        load_vocabulary(tmp_path)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert str(tmp_path) not in caught.value.message
