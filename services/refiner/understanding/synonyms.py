"""Rephrases prompts without changing what they say (the synonymous prompts of ImageRepainter)."""

from __future__ import annotations

import random
from collections.abc import Collection

from services.refiner.understanding.lexicon import Category, Form, Match, terms
from services.refiner.understanding.parsing import ParsedPrompt, PromptParser
from services.refiner.understanding.phrases import fix_article

_MAX_CHANGES = 2
_ATTEMPTS = 24


class Rephraser:
    """Swaps wordings of the vocabulary for other wordings of the same value."""

    def __init__(self, parser: PromptParser) -> None:
        self._parser = parser
        vocabulary = parser.vocabulary
        self._wordings: dict[tuple[Category, str, Form], tuple[str, ...]] = {}
        for category, term in terms(vocabulary):
            self._wordings[category, term.name, Form.PHRASE] = (term.phrase, *term.synonyms)
        for relation in vocabulary.relations:
            wordings = (relation.inverse, *relation.inverse_synonyms)
            self._wordings[Category.RELATION, relation.name, Form.INVERSE] = wordings

    def rephrase(self, prompt: str, count: int, seed: int, known: Collection[str] = ()) -> list[str]:
        """Up to `count` distinct prompts that say the same; none equals `prompt` or one of `known`.

        Empty if the vocabulary knows no other wording of anything in the prompt.
        """
        parsed = self._parser.parse(prompt)
        choices = self._choices(parsed)
        found: list[str] = []
        # The same prompt and seed must give the same synonyms in every process: hash() would not.
        chance = random.Random(f"{seed}:{prompt}")
        for _ in range(_ATTEMPTS if choices else 0):
            if len(found) >= count:
                break
            changes = chance.sample(choices, min(len(choices), chance.randint(1, _MAX_CHANGES)))
            text = prompt
            for place, wordings in sorted(changes, key=lambda change: -change[0].start):
                text = text[: place.start] + chance.choice(wordings) + text[place.end :]
                text = fix_article(text, place.start)
            if text != prompt and text not in found and text not in known and self._says_the_same(parsed, text):
                found.append(text)
        return found

    def _choices(self, parsed: ParsedPrompt) -> list[tuple[Match, list[str]]]:
        choices: list[tuple[Match, list[str]]] = []
        for place in sorted(parsed.places.values(), key=lambda match: match.start):
            now = parsed.text[place.start : place.end].lower()
            wordings = self._wordings.get((place.category, place.name, place.form), ())
            others = [wording for wording in wordings if wording != now]
            if others:
                choices.append((place, others))
        return choices

    def _says_the_same(self, parsed: ParsedPrompt, text: str) -> bool:
        other = self._parser.parse(text)
        return other.scene == parsed.scene and other.rest == parsed.rest
