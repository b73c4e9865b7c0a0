"""The vocabulary that ships with the models, and what reads it."""

from __future__ import annotations

import pytest

from services.common.profile import ROOT
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import PromptParser
from services.refiner.vocabulary import Vocabulary, load_vocabulary


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return load_vocabulary(ROOT / "models")


@pytest.fixture(scope="session")
def parser(vocabulary: Vocabulary) -> PromptParser:
    return PromptParser(vocabulary)


@pytest.fixture(scope="session")
def editor(parser: PromptParser) -> PromptEditor:
    return PromptEditor(parser)
