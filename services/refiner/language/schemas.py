"""JSON schemas of what a language model may answer. Every string and list is bounded."""

from __future__ import annotations

from typing import Any

_SHORT, _MEDIUM, _PROMPT = 80, 400, 1500
_MAX_OBJECTS, _MAX_FEATURES = 12, 12


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def _list(item: dict[str, Any], longest: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": longest}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_ASPECT = {"type": "string", "enum": ["overall", "style", "color", "detail"]}
_FEATURE = _object(name=_text(_SHORT, 1), value=_text(_MEDIUM, 1), aspect=_ASPECT)
_EDIT = _object(property=_text(_SHORT, 1), before=_text(_MEDIUM), after=_text(_MEDIUM))

TREE = _object(
    base_caption=_text(_PROMPT, 1),
    overall_features=_list(_FEATURE, _MAX_FEATURES),
    objects=_list(_text(_SHORT, 1), _MAX_OBJECTS),
    relations=_list(
        _object(subject=_text(_SHORT, 1), predicate=_text(_SHORT, 1), object=_text(_SHORT, 1)), _MAX_OBJECTS
    ),
)
"""First look at a picture: caption, overall features, names of objects, relations."""

OBJECTS = _object(
    objects=_list(
        _object(
            name=_text(_SHORT, 1),
            questions=_list(_object(question=_text(_MEDIUM, 1), answer=_text(_MEDIUM, 1)), _MAX_FEATURES),
            features=_list(_FEATURE, _MAX_FEATURES),
        ),
        _MAX_OBJECTS,
    )
)
"""Second look: per object the questions asked, the answers, and the features they give."""

PROMPT = _object(prompt=_text(_PROMPT, 1))
"""One prompt."""

CRITIQUE = _object(
    feedback=_text(_PROMPT),
    agreement={"type": "number", "minimum": 0, "maximum": 1},
    edits=_list(_EDIT, _MAX_FEATURES),
)
"""What differs between two pictures."""

REVISION = _object(prompt=_text(_PROMPT, 1), edits=_list(_EDIT, _MAX_FEATURES))
"""A revised prompt and what changed."""


def prompts(count: int) -> dict[str, Any]:
    """A list of 1 to `count` prompts."""
    return _object(prompts=_list(_text(_PROMPT, 1), count) | {"minItems": 1})
