"""The rounds: the best of each in a strip, then every prompt with what changed, and the feedback between them."""

from __future__ import annotations

from likeness import Candidate, Feedback, Round
from likeness._diff import needs_space, word_diff
from likeness._numbers import gain_text, score_text
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el, join

_TAGS = {"added": "ins", "removed": "del"}
_WHAT = {
    "overall": "the picture as a whole",
    "style": "style",
    "color": "color",
    "detail": "detail",
}


def strip(data: ReportData) -> Html | None:
    """The best picture of every round, from left to right, after the target."""
    cards = [_card(data, item) for item in data.rounds if item.best is not None]
    if len(cards) < 2:
        return None
    target = el("li", data.target.img("Target"), el("b", "Target"), class_="target")
    return el("section", el("h2", "Round by round"), el("ol", target, cards, class_="strip"))


def section(data: ReportData) -> Html | None:
    """Every round with its candidates."""
    if not data.rounds:
        return None
    legend = el(
        "p",
        "Against the prompt that the round began with: ",
        el("ins", "added"),
        " ",
        el("del", "removed"),
        class_="muted",
    )
    return el("section", el("h2", "Prompts and pictures"), legend, [_round(data, item) for item in data.rounds])


def diff(before: str, after: str) -> Html:
    """A prompt with what changed marked by ins and del."""
    if not before:
        return join(after)
    parts: list[object] = []
    for change, words in word_diff(before, after):
        if parts and needs_space(words):
            parts.append(" ")
        parts.append(words if change == "same" else el(_TAGS[change], words))
    return join(parts)


def gain_chip(gain: float | None) -> Html | None:
    """A gain as a colored chip."""
    if gain is None:
        return None
    kind = "up" if gain > 0 else "down" if gain < 0 else "even"
    return el("span", gain_text(gain), class_=f"chip {kind}", title="against the best before this round")


def _card(data: ReportData, item: Round) -> Html:
    best = item.best
    picture = data.picture(best) if best else None
    is_winner = best is not None and data.session.best is not None and best.id == data.session.best.id
    return el(
        "li",
        picture.img(f"Best picture of round {item.number}") if picture else None,
        el("b", f"Round {item.number}"),
        el("span", score_text(best.loop_score if best else None), " ", gain_chip(item.gain), class_="numbers"),
        class_="winner" if is_winner else None,
    )


def _round(data: ReportData, item: Round) -> Html:
    what = f"looks at {_WHAT[item.aspect]}" if item.aspect else ""
    about = " · ".join(part for part in (item.strategy, what) if part)
    heading = el("h3", f"Round {item.number} ", el("span", about, class_="muted"), " ", gain_chip(item.gain))
    base = el("p", el("span", "began with ", class_="muted"), el("q", item.base_prompt)) if item.base_prompt else None
    candidates = el("ul", [_candidate(data, item, candidate) for candidate in item.candidates], class_="candidates")
    return el("article", heading, base, candidates, _feedback(item.feedback), class_="round")


def _candidate(data: ReportData, item: Round, candidate: Candidate) -> Html:
    picture = data.picture(candidate)
    is_best = candidate.id == item.best_candidate_id
    if candidate.error:
        shown: Html = el("div", el("b", "failed"), el("span", candidate.error.message), class_="missing")
    elif picture:
        shown = picture.img(f"Picture of candidate {candidate.id}")
    else:
        shown = el("div", "not made", class_="missing")
    line = el(
        "p",
        el("b", score_text(candidate.loop_score)),
        el("span", candidate.id, class_="muted"),
        el("span", candidate.origin, class_="chip") if candidate.origin else None,
        class_="numbers",
    )
    return el(
        "li",
        shown,
        el("div", line, el("p", diff(item.base_prompt, candidate.prompt), class_="text")),
        class_="winner" if is_best else None,
    )


def _feedback(feedback: Feedback | None) -> Html | None:
    if feedback is None or not feedback.text:
        return None
    edits = [
        el(
            "li",
            el("code", edit.property),
            " ",
            el("del", edit.before) if edit.before else None,
            " ",
            el("ins", edit.after) if edit.after else None,
        )
        for edit in feedback.edits
    ]
    return el("aside", el("b", "Feedback "), feedback.text, el("ul", edits) if edits else None)
