"""The vocabulary of the drawn world, as it ships with models that were trained on it, and what reads it."""

from __future__ import annotations

import pytest

from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import PromptParser
from services.refiner.vocabulary import Vocabulary, read_vocabulary
from world import export_vocabulary


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return read_vocabulary(export_vocabulary.content())


@pytest.fixture(scope="session")
def parser(vocabulary: Vocabulary) -> PromptParser:
    return PromptParser(vocabulary)


@pytest.fixture(scope="session")
def editor(parser: PromptParser) -> PromptEditor:
    return PromptEditor(parser)
