"""The words of the drawn world, read from models/vocabulary.json: kinds, colors, sizes, places, styles and synonyms."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.errors import Reason, UnavailableError

FORMAT = 1
FILE_NAME = "vocabulary.json"


@dataclass(frozen=True)
class Term:
    """A value, its canonical wording and its other wordings."""

    name: str
    phrase: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind(Term):
    """A nameable thing; `tintable` things have a color of their own choice."""

    group: str = ""
    tintable: bool = False


@dataclass(frozen=True)
class Background(Term):
    """A background; `terse` is the bare noun."""

    terse: str = ""


@dataclass(frozen=True)
class Style(Term):
    """A style; `lead` stands before a description ("watercolor of"), `has_colors` is False for sketch and sepia."""

    lead: str = ""
    has_colors: bool = True


@dataclass(frozen=True)
class RelationTerm(Term):
    """An order of objects; `phrase` reads from each to the next, `inverse` from each to the one before."""

    inverse: str = ""
    inverse_synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """All words. Every table keeps the order of the file; `most_objects` is how many the models can draw."""

    kinds: tuple[Kind, ...]
    colors: tuple[Term, ...]
    sizes: tuple[Term, ...]
    positions: tuple[Term, ...]
    relations: tuple[RelationTerm, ...]
    backgrounds: tuple[Background, ...]
    styles: tuple[Style, ...]
    qualities: tuple[Term, ...]
    most_objects: int

    def kind(self, name: str) -> Kind | None:
        """The kind of a name, if it is one of the world's."""
        return next((kind for kind in self.kinds if kind.name == name), None)

    def style(self, name: str | None) -> Style | None:
        """The style of a name."""
        return next((style for style in self.styles if style.name == name), None)

    def relation(self, name: str | None) -> RelationTerm | None:
        """The relation of a name."""
        return next((relation for relation in self.relations if relation.name == name), None)


def load_vocabulary(models_dir: Path) -> Vocabulary:
    """Reads vocabulary.json of the models folder.

    Raises:
        UnavailableError: the file is missing or of another format.
    """
    path = models_dir / FILE_NAME
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']} instead of {FORMAT}")
        return read_vocabulary(raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"models/{FILE_NAME} cannot be used ({type(error).__name__}); run 'make models'"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, problem) from error


def read_vocabulary(raw: dict[str, Any]) -> Vocabulary:
    """The vocabulary in the content of a file.

    Raises:
        KeyError, TypeError: a table is missing or of another kind.
    """
    return Vocabulary(
        kinds=tuple(
            Kind(kind["name"], kind["name"], tuple(kind["synonyms"]), kind["group"], kind["tintable"])
            for kind in raw["kinds"]
        ),
        colors=_terms(raw["colours"]),
        sizes=_terms(raw["sizes"]),
        positions=_terms(raw["positions"]),
        relations=tuple(
            RelationTerm(r["name"], r["phrase"], tuple(r["synonyms"]), r["inverse"], tuple(r["inverse_synonyms"]))
            for r in raw["relations"]
        ),
        backgrounds=tuple(
            Background(b["name"], b["phrase"], tuple(b["synonyms"]), b["terse"]) for b in raw["backgrounds"]
        ),
        styles=tuple(
            Style(s["name"], s["phrase"], tuple(s["synonyms"]), s["lead"], s["coloured"]) for s in raw["styles"]
        ),
        qualities=_terms(raw["qualities"]),
        # The models were trained on these forms of captions, and know no more objects than the longest one names.
        most_objects=max(form.count("{object}") for form in raw["canonical"].values() if isinstance(form, str)),
    )


def _terms(rows: Iterable[dict[str, Any]]) -> tuple[Term, ...]:
    return tuple(Term(row["name"], row["phrase"], tuple(row["synonyms"])) for row in rows)
