"""Text of backends as it is stored."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway import domain
from services.gateway.loops.text import MAX_STORED_CHARACTERS, storable


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_only_control_characters_are_taken_out(text: str) -> None:
    stored = storable(text)
    assert stored == storable(stored)
    assert "".join(one for one in text if one.isprintable() or one in "\t\n\r") == "".join(
        one for one in stored if one.isprintable() or one in "\t\n\r"
    )
    assert not any((ord(one) < 0x20 and one not in "\t\n\r") or 0x7F <= ord(one) < 0xA0 for one in stored)


def test_text_is_bounded_at_any_depth() -> None:
    long = "x" * (MAX_STORED_CHARACTERS + 1)
    edit = domain.PromptEdit("color", long, "a\x00\x1b[2Jb")
    stored = storable((domain.ProposedPrompt(long, "revision", (edit,)),))
    assert len(stored[0].text) == len(stored[0].edits[0].before) == MAX_STORED_CHARACTERS
    assert stored[0].edits[0].after == "a[2Jb"


def test_what_is_no_text_stays() -> None:
    score = domain.Score("ssim", "1", 0.5, 0.5, True)
    assert storable((score, domain.Aspect.COLOR, None, 7)) == (score, domain.Aspect.COLOR, None, 7)
