"""The page: its sections in order, style sheet and pictures inside, no script, nothing fetched from anywhere."""

from __future__ import annotations

from importlib import resources

from likeness.report import hero, provenance, rounds, scores, understanding
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(data: ReportData) -> str:
    """The whole document."""
    return document(
        data.session.display_name or data.session.id,
        _masthead(data),
        el(
            "main",
            hero.section(data),
            rounds.strip(data),
            scores.section(data),
            rounds.section(data),
            understanding.section(data),
            provenance.section(data),
        ),
        footer(data.version, data.profile),
    )


def document(title: str, *body: Html) -> str:
    """A document with the style sheet inside, that may load and run nothing."""
    style = resources.files("likeness.report").joinpath("style.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"Likeness: {title}"),
        el("style", Html(style)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', *body), lang='en')}\n"


def footer(version: str, profile: str) -> Html:
    """Who made the page."""
    return el("footer", f"Made by Likeness {version}, profile {profile}. This page is one file: keep it, send it.")


def _masthead(data: ReportData) -> Html:
    session = data.session
    when = f"{session.update_time:%d %B %Y, %H:%M} UTC".lstrip("0")
    name = f"{session.display_name} · " if session.display_name else ""
    return el(
        "header", el("span", "Likeness", class_="brand"), el("span", f"{name}{session.id} · {when}", class_="muted")
    )
