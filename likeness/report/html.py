"""Building HTML without a template language: every text is escaped unless it was built here."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "img", "br", "hr", "line", "circle", "path", "rect", "polyline"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def el(tag: str, *children: object, **attributes: object) -> Html:
    """An element. `class_` stands for class, other underscores for hyphens; None and False leave an attribute out.

    Children may be markup, text (which is escaped), numbers, None (left out) or iterables of these.
    """
    opening = "".join(f' {_name(key)}="{html.escape(str(value), quote=True)}"' for key, value in _given(attributes))
    if tag in _VOID and not children:
        return Html(f"<{tag}{opening}/>")
    return Html(f"<{tag}{opening}>{''.join(_flat(children))}</{tag}>")


def join(*children: object) -> Html:
    """Children beside each other, without an element around them."""
    return Html("".join(_flat(children)))


def _flat(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, Html):
            yield child
        elif isinstance(child, Iterable) and not isinstance(child, str):
            yield from _flat(child)
        else:
            yield html.escape(str(child), quote=False)


def _given(attributes: dict[str, object]) -> list[tuple[str, object]]:
    kept = [(key, value) for key, value in attributes.items() if value is not None and value is not False]
    return [(key, "" if value is True else value) for key, value in kept]


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key
