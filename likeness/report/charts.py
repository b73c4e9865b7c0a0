"""Small line charts as inline SVG: one value over the rounds. Colors come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from likeness.report.html import Html, el

_WIDTH, _HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 24


@dataclass(frozen=True)
class Series:
    """Values to draw.

    Attributes:
        rounds: Per round, the value of every candidate.
        best: Per round, the value of the round's best candidate; None leaves a gap.
    """

    rounds: Sequence[Sequence[float]]
    best: Sequence[float | None]


def line_chart(series: Series, label: str) -> Html:
    """A dot per candidate, a line through the best of each round. `label` is read out to those who cannot see it."""
    values = [value for row in series.rounds for value in row] + [value for value in series.best if value is not None]
    low, high, ticks = _scale(values)
    axes = [_tick(value, _y(value, low, high)) for value in ticks]
    columns = [_column(index, len(series.rounds)) for index in range(len(series.rounds))]
    dots = [
        el("circle", cx=f"{x + _spread(place, len(row)):.1f}", cy=f"{_y(value, low, high):.1f}", r=2.6, class_="dot")
        for x, row in zip(columns, series.rounds, strict=True)
        for place, value in enumerate(row)
    ]
    points = [(x, _y(value, low, high)) for x, value in zip(columns, series.best, strict=True) if value is not None]
    line = el("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_="line")
    marks = [el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_="mark") for x, y in points]
    return _svg(axes, dots, line, marks, _round_numbers(columns), label=label)


def curves_chart(curves: Sequence[Sequence[float | None]], label: str) -> Html:
    """A line for each curve, one value a round; None leaves a gap. Line i has the class "of-i" of the style sheet."""
    low, high, ticks = _scale([value for curve in curves for value in curve if value is not None])
    axes = [_tick(value, _y(value, low, high)) for value in ticks]
    columns = [_column(index, max(map(len, curves), default=0)) for index in range(max(map(len, curves), default=0))]
    lines = []
    for index, curve in enumerate(curves):
        points = [(x, _y(value, low, high)) for x, value in zip(columns, curve, strict=False) if value is not None]
        path = el("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_="line")
        marks = [el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, class_="mark") for x, y in points]
        lines.append(el("g", path, marks, class_=f"of-{index}"))
    return _svg(axes, lines, _round_numbers(columns), label=label)


def ring(value: float) -> Html:
    """A value of 0..1 as a ring that fills clockwise, with the number inside."""
    radius = 52
    around = 2 * math.pi * radius
    arc = f"{around * min(max(value, 0), 1):.1f} {around:.1f}"
    return el(
        "svg",
        el("circle", cx=60, cy=60, r=radius, class_="ring-track"),
        el("circle", cx=60, cy=60, r=radius, class_="ring-value", stroke_dasharray=arc, transform="rotate(-90 60 60)"),
        el("text", f"{value:.3f}", x=60, y=60, class_="ring-number", text_anchor="middle", dominant_baseline="central"),
        viewBox="0 0 120 120",
        class_="ring",
        role="img",
        aria_label=f"score {value:.3f} of 1",
    )


def _svg(*parts: object, label: str) -> Html:
    return el("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)


def _round_numbers(columns: Sequence[float]) -> list[Html]:
    """Numbers of the rounds below their columns."""
    return [
        el(
            "text",
            f"round {index}" if index == 1 else index,
            x=f"{x:.1f}",
            y=_HEIGHT - 6,
            class_="tick",
            text_anchor="middle",
        )
        for index, x in enumerate(columns, 1)
        if _is_labelled(index, len(columns))
    ]


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Lowest and highest value of the axis, and round numbers between them for its lines."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * 0.12 or abs(high) * 0.05 or 0.5
    low, high = low - room, high + room
    magnitude = 10 ** math.floor(math.log10((high - low) / 2))
    # The coarsest round step that still gives at least two lines.
    step = next(size * magnitude for size in (10, 5, 2.5, 2, 1) if 2 * size * magnitude <= high - low)
    first = math.ceil(low / step)
    return low, high, [index * step for index in range(first, math.floor(high / step) + 1)]


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _column(index: int, count: int) -> float:
    inner = _WIDTH - _LEFT - _RIGHT - 36
    return _LEFT + 18 + (inner / 2 if count == 1 else inner * index / (count - 1))


def _spread(place: int, count: int) -> float:
    """Sets candidates of one round a little apart, so that equal values do not hide each other."""
    return (place - (count - 1) / 2) * min(5.0, 20 / max(count, 1))


def _is_labelled(index: int, count: int) -> bool:
    every = max(1, math.ceil(count / 12))
    return index == 1 or index == count or (index % every == 0 and count - index >= every)


def _tick(value: float, y: float) -> list[Html]:
    text = f"{value:.10g}" if abs(value) < 1e4 else f"{value:.3g}"
    return [
        el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"),
        el("text", text, x=_LEFT - 6, y=f"{y + 3.5:.1f}", class_="tick", text_anchor="end"),
    ]
