"""How to make it again, and what made it: settings, record of the best picture, models, metrics, seeds, timings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from itertools import pairwise

from likeness import GenerationRecord, NoisePart
from likeness._numbers import seconds_text
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el


def section(data: ReportData) -> Html:
    """All of it, in cards."""
    best = data.session.best
    cards = [
        _card("Settings", _list(_settings(data))),
        _card("The best picture’s record", _list(_record(best.record))) if best and best.record else None,
        _card("Time", _timings(data)),
        _card("Models", _models(data)),
        _card("Metrics", _metrics(data)),
        _card("Seeds", _seeds(data)),
    ]
    return el("section", el("h2", "How it was made"), el("div", cards, class_="cards"))


def _card(title: str, body: Html | None) -> Html | None:
    return None if body is None else el("div", el("h3", title), el("div", body, class_="scroll"), class_="card")


def _list(rows: Iterable[tuple[str, object]]) -> Html:
    return el("dl", [[el("dt", name), el("dd", value)] for name, value in rows])


def _settings(data: ReportData) -> list[tuple[str, object]]:
    settings = data.session.settings
    limits = next((m.generation_limits for m in data.models if m.id == settings.generator_model), None)
    default_steps = _default(limits.default_steps if limits else None)
    default_scale = _default(limits.default_guidance_scale if limits else None)
    rows: list[tuple[str, object]] = [("generator", settings.generator_model or "profile’s default")]
    rows.append(("steps", default_steps if settings.steps is None else settings.steps))
    rows.append(("guidance scale", default_scale if settings.guidance_scale is None else settings.guidance_scale))
    rows.append(("session seed", settings.seed))
    rows.append(("metrics", ", ".join(settings.metrics) or "profile’s default"))
    rows.append(("selection metrics", ", ".join(settings.selection_metrics) or "profile’s default"))
    rows.append(("profile", data.profile))
    return rows


def _default(value: float | None) -> str:
    return "model’s default" if value is None else f"{value:g} (model’s default)"


def _record(record: GenerationRecord) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("prompt", record.prompt)]
    rows += [("negative prompt", record.negative_prompt)] if record.negative_prompt else []
    rows.append(("seed", el("code", record.seed)))
    if record.noise_mix:
        parts = sorted(((_strength(part), part) for part in record.noise_mix), key=lambda each: -abs(each[0]))
        rows.append(("noise mix", el("code", ", ".join(f"{weight:+.3f} × {part.seed}" for weight, part in parts))))
    return [
        *rows,
        ("steps", record.steps),
        ("guidance scale", f"{record.guidance_scale:g}"),
        ("scheduler", record.scheduler),
        ("size", f"{record.width_pixels} × {record.height_pixels} px"),
        ("model", record.model),
        ("revision", el("code", record.model_revision)),
    ]


def _timings(data: ReportData) -> Html | None:
    if not data.rounds:
        return None
    session = data.session
    times = [session.create_time, *(item.create_time for item in data.rounds), session.update_time]
    names = ["looking at the target", *(f"round {item.number}" for item in data.rounds)]
    seconds = [(end - start).total_seconds() for start, end in pairwise(times)]
    longest = max(*seconds, 0.001)
    rows = [
        el(
            "tr",
            el("th", name),
            el("td", seconds_text(max(value, 0))),
            el(
                "td",
                el("span", el("span", style=f"width:{100 * max(value, 0) / longest:.0f}%"), class_="bar"),
                class_="wide",
            ),
        )
        for name, value in zip(names, seconds, strict=True)
    ]
    return el("table", el("tbody", rows))


def _models(data: ReportData) -> Html | None:
    if not data.models:
        return None
    head = el("tr", [el("th", name) for name in ("model", "role", "revision", "license")])
    rows = [
        el("tr", el("th", m.id), el("td", m.role), el("td", el("code", m.revision[:12])), el("td", m.license))
        for m in data.models
    ]
    return el("table", el("thead", head), el("tbody", rows))


def _metrics(data: ReportData) -> Html | None:
    computed = {score.metric: score.revision for item in data.rounds for c in item.candidates for score in c.scores}
    if not computed:
        return None
    head = el("tr", [el("th", name) for name in ("metric", "revision", "better")])
    higher = {
        score.metric: score.higher_is_better for item in data.rounds for c in item.candidates for score in c.scores
    }
    rows = [
        el("tr", el("th", name), el("td", el("code", revision[:12])), el("td", "higher" if higher[name] else "lower"))
        for name, revision in computed.items()
    ]
    return el("table", el("thead", head), el("tbody", rows))


def _seeds(data: ReportData) -> Html | None:
    records = [(c.id, c.record) for item in data.rounds for c in item.candidates if c.record]
    if not records:
        return None
    rows = [el("tr", el("th", name), el("td", el("code", record.seed), _mixed(record))) for name, record in records]
    return el("table", el("tbody", rows), class_="seeds")


def _strength(part: NoisePart) -> float:
    """Weight of a noise over the whole picture: the root of its mean square, with the sign of the weight."""
    return part.weight * math.sqrt(statistics.fmean(cell**2 for cell in part.cells or (1.0,)))


def _mixed(record: GenerationRecord) -> str:
    others = sum(part.seed != record.seed for part in record.noise_mix)
    return f" mixed with {others} others" if others else ""
