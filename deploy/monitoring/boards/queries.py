"""Queries that several dashboards make."""

from __future__ import annotations

from deploy.monitoring.panels import Query

FAULTS = 'code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS"'
"""Statuses that are no fault of a caller's."""


def rate(metric: str, by: str, filters: str = "") -> str:
    """Rate of a counter, summed by some labels (a, b)."""
    inside = ",".join(part for part in ("$ns", filters) if part)
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", filters: str = "") -> Query:
    """A quantile of a histogram, one line for each value of a label."""
    labels = ", ".join(part for part in (by, "le") if part)
    legend = f"p{share * 100:g}" + (f" {{{{{by}}}}}" if by else "")
    return Query(f"histogram_quantile({share}, {rate(histogram + '_bucket', labels, filters)})", legend)


def mean(histogram: str, by: str) -> Query:
    """Mean of a histogram, one line for each value of a label."""
    return Query(f"{rate(histogram + '_sum', by)} / {rate(histogram + '_count', by)}", f"{{{{{by}}}}}")


def total(gauge: str, by: str = "", legend: str = "") -> Query:
    """Sum of a gauge, in one line or in one for each value of a label."""
    return Query(f"sum by ({by}) ({gauge}{{$ns}})" if by else f"sum({gauge}{{$ns}})", legend or f"{{{{{by}}}}}")
