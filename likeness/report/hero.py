"""Top of the page: target and best picture side by side, and what came of it in one line."""

from __future__ import annotations

from likeness import Round, Session, StopReason
from likeness._numbers import score_text, seconds_text
from likeness.report.charts import ring
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el
from likeness.report.pictures import Picture

_STOPS = {
    StopReason.ROUNDS_DONE: "all rounds were done",
    StopReason.TARGET_REACHED: "the target score was reached",
    StopReason.PLATEAU: "there was no more gain",
    StopReason.BUDGET_SPENT: "the image budget was spent",
    StopReason.CANCELLED: "it was cancelled",
    StopReason.FAILED: "it failed",
}


def section(data: ReportData) -> Html:
    """Verdict, the two pictures, the prompt, the facts."""
    best = data.session.best
    score = best.loop_score if best else None
    pair = el(
        "div",
        _figure(data.target, "Target", f"{data.target.width} × {data.target.height} px"),
        el("div", ring(score), el("p", "likeness", class_="muted"), class_="between") if score is not None else None,
        _figure(data.best, "Best", best.id) if data.best and best else None,
        class_="pair",
    )
    prompt = el("blockquote", el("p", best.prompt), class_="prompt") if best else None
    facts = [el("li", el("b", value), el("span", name)) for name, value in _facts(data)]
    return el(
        "section",
        el("h1", verdict(data.session, data.rounds)),
        pair,
        prompt,
        el("ul", facts, class_="facts"),
        class_="hero",
    )


def verdict(session: Session, rounds: tuple[Round, ...]) -> str:
    """One sentence on how far the loop came."""
    if not session.settings.show_scores:
        return "Scores are hidden in this session."
    scored = [item.best for item in rounds if item.best is not None and item.best.loop_score is not None]
    if session.best is None or not scored:
        return "No picture could be scored."
    first, best = scored[0].loop_score, session.best.loop_score
    if len(scored) == 1:
        return f"One round gave a likeness of {score_text(best)}."
    if session.best.round_number == scored[0].round_number:
        return f"The first round’s picture stayed the best of {len(rounds)} rounds: {score_text(best)}."
    return f"From {score_text(first)} to {score_text(best)} in {session.best.round_number} rounds."


def _figure(picture: Picture | None, title: str, note: str) -> Html | None:
    if picture is None:
        return None
    return el(
        "figure",
        picture.img(f"{title} picture"),
        el("figcaption", el("b", title), el("span", note, class_="muted")),
    )


def _facts(data: ReportData) -> list[tuple[str, str]]:
    session = data.session
    pictures = sum(candidate.image is not None for item in data.rounds for candidate in item.candidates)
    seconds = (session.update_time - session.create_time).total_seconds()
    strategies = " + ".join(dict.fromkeys(item.strategy for item in data.rounds if item.strategy))
    facts = [
        ("rounds", str(len(data.rounds))),
        ("pictures", str(pictures)),
        ("from start to end", seconds_text(seconds)),
    ]
    facts += [("strategy", strategies)] if strategies else []
    facts += (
        [("score: mean of", " + ".join(session.settings.selection_metrics))]
        if session.settings.selection_metrics
        else []
    )
    facts += [("stopped because", _STOPS[session.stop_reason])] if session.stop_reason else []
    return facts
