"""Whatever a language model answers within its schemas, what leaves the strategy is bounded and can be printed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import UnavailableError
from services.common.language_model import LanguageModel, Question
from services.refiner.domain import MAX_PROMPT_CHARACTERS, Aspect, Feedback
from services.refiner.strategies.base import CritiqueRequest, ProposalRequest
from services.refiner.strategies.llm import LanguageModelStrategy, LanguageModelUnderstander
from tests.refiner.helpers import picture

NASTY = st.sampled_from(["\x00", "\x1b[2J", "\ud800", "\u202e", "%s", "{0}", "'; DROP TABLE sessions; --", "../" * 9])
TEXTS = st.lists(st.text(st.characters(exclude_categories=()), max_size=8) | NASTY, max_size=4).map("".join)


class Fake:
    """A model that answers by the schema, with whatever hypothesis draws."""

    name = "fake"

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.questions: list[Question] = []

    async def ask(self, question: Question) -> dict[str, Any]:
        """An answer that is valid."""
        self.questions.append(question)
        answer = self._data.draw(_values(question.schema))
        jsonschema.validate(answer, question.schema)
        return cast(dict[str, Any], answer)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_leaves_can_be_printed_and_is_bounded(data: st.DataObject) -> None:
    fake = Fake(data)
    model = cast(LanguageModel, fake)
    strategy = LanguageModelStrategy(model, LanguageModelUnderstander(model))
    for left in asyncio.run(_all_verbs(strategy)):
        for text in _texts(left):
            assert text.isprintable()
            assert len(text) <= MAX_PROMPT_CHARACTERS
            text.encode()
    assert len({question.instructions for question in fake.questions}) <= 6


async def _all_verbs(strategy: LanguageModelStrategy) -> list[object]:
    target, best = picture((1, 2, 3)), picture((4, 5, 6))
    try:
        tree, prompt = await strategy.understand(target)
    except UnavailableError:  # nothing that can be printed
        return []
    assert prompt
    proposals = await strategy.propose(ProposalRequest(target, tree, "a cat", 1, 4, Aspect.OVERALL, (), 3))
    assert 1 <= len(proposals) <= 4 and all(one.text for one in proposals)
    critique = await strategy.critique(CritiqueRequest(target, best, "a cat", tree, Aspect.COLOR))
    assert 0 <= critique.agreement <= 1
    revision = await strategy.revise("a cat", Feedback("darker"))
    assert revision.prompt
    return [tree, prompt, proposals, critique, revision]


@pytest.mark.parametrize("caption", ["\x1b\x07", "\ud800"])
async def test_a_description_of_nothing_is_no_description(caption: str) -> None:
    class Silent:
        name = "silent"

        async def ask(self, question: Question) -> dict[str, Any]:
            empty = {"base_caption": caption, "overall_features": [], "objects": [], "relations": []}
            return {"look": empty, "ask": {"objects": []}, "write": {"prompt": caption}}[question.name]

    with pytest.raises(UnavailableError):
        await LanguageModelUnderstander(cast(LanguageModel, Silent())).describe(picture((1, 2, 3)))


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object":
            return st.fixed_dictionaries({name: _values(one) for name, one in schema["properties"].items()})
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(_values(schema["items"]), min_size=least, max_size=min(3, schema["maxItems"]))
        case "number":
            return st.floats(schema["minimum"], schema["maximum"])
        case _:
            least, most = schema["minLength"], schema["maxLength"]
            return TEXTS.map(lambda text: text[:most]).filter(lambda text: len(text) >= least) | st.just("x" * most)


def _texts(value: object) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _texts(getattr(value, field.name))
