"""Numbers for people: few digits, units."""

from __future__ import annotations

from datetime import UTC, datetime

from likeness import Score


def score_text(value: float | None) -> str:
    """A loop score or normalized value, 0..1."""
    return "-" if value is None else f"{value:.3f}"


def gain_text(value: float | None) -> str:
    """A change of a loop score, with its sign."""
    return "" if value is None else f"{value:+.3f}"


def raw_text(value: float) -> str:
    """A metric's own value: four significant digits."""
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.4g}"


def metric_text(score: Score | None) -> str:
    """Raw value, or why there is none."""
    if score is None:
        return "-"
    return score.error.reason.lower().replace("_", " ") if score.error else raw_text(score.raw)


def arrow(higher_is_better: bool) -> str:
    """Direction of a metric: which way is better."""
    return "↑" if higher_is_better else "↓"


def interval_text(low: float | None, high: float | None) -> str:
    """An interval, such as "[0.660, 0.710]"."""
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def p_text(p: float) -> str:
    """A probability, in the way of papers: nothing below .001 is told apart."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds_text(seconds: float) -> str:
    """A duration, such as "0.8 s", "42 s" or "3 min 5 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def age_text(time: datetime, now: datetime | None = None) -> str:
    """How long ago, such as "5 min ago"."""
    seconds = max(((now or datetime.now(UTC)) - time).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
