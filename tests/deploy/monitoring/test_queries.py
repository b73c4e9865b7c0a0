"""Every query of dashboards and alerts asks for what the services export: name, labels and type."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from deploy.monitoring.__main__ import RULES
from deploy.monitoring.boards import DASHBOARDS
from tests.deploy.monitoring.exported import exported
from tests.deploy.monitoring.promql import Use, grouped_by, uses

SCRAPED = {"namespace", "pod", "instance", "job"}
"""Labels that Prometheus adds."""
FOREIGN = {
    "up": {"job", "ray_node_type"},
    "DCGM_FI_DEV_GPU_UTIL": {"UUID"},
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": {"UUID"},
    "DCGM_FI_DEV_XID_ERRORS": {"UUID"},
}
"""What others export: Prometheus itself, and NVIDIA's exporter, whose names are from its documentation."""

GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
RECORDED = {rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    for group in GROUPS:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for number, query in enumerate(panel.queries):
                    yield f"{dashboard.uid}/{row.title}/{panel.title}/{number}", query.promql


ALL = dict(expressions())


def labels_of(name: str) -> set[str]:
    """Labels of a metric, a recorded one included; fails where there is no such metric."""
    if name in RECORDED:
        return grouped_by(RECORDED[name])
    if name in FOREIGN:
        return FOREIGN[name] | SCRAPED
    assert name in exported(), f"no service exports {name}"
    return set(exported()[name].labels) | SCRAPED


@pytest.mark.parametrize("place", ALL)
def test_a_query_reads_metrics_and_labels_that_there_are(place: str) -> None:
    read = uses(ALL[place])
    assert read, "it reads nothing"
    known: set[str] = set()
    for use in read:
        labels = labels_of(use.name)
        assert {label for label, _ in use.matchers} <= labels, use.name
        known |= labels
    assert grouped_by(ALL[place]) <= known


@pytest.mark.parametrize("place", ALL)
def test_counters_are_read_over_a_range_and_gauges_are_not(place: str) -> None:
    for use in uses(ALL[place]):
        if use.name in exported():
            kind = exported()[use.name].type
            assert use.has_range == (kind in ("counter", "histogram")), use.name
            assert use.has_range == _is_rated(ALL[place], use), use.name


def _is_rated(expression: str, use: Use) -> bool:
    return bool(re.search(rf"\b(?:rate|increase)\(\s*{re.escape(use.name)}\b", expression))


def test_values_that_queries_filter_by_are_ones_that_the_services_write() -> None:
    """Statuses are gRPC's; the rest is looked up where it is written."""
    import grpc

    statuses = {code.name for code in grpc.StatusCode}
    written = {"outcome": {"made", "failed", "cancelled"}, "component": {"cache"}, "strategy": set(), "le": {"0.0"}}
    written |= {"result": {"hit", "failed"}, "reason": {"failed"}}
    for place, expression in ALL.items():
        for use in uses(expression):
            for label, value in use.matchers:
                if label == "code":
                    assert set(value.split("|")) <= statuses, place
                elif label in written and use.name not in FOREIGN:
                    assert set(value.split("|")) <= written[label], place


def test_every_metric_is_in_a_dashboard() -> None:
    shown = {use.name for dashboard in DASHBOARDS for query in dashboard.queries() for use in uses(query.promql)}
    shown |= {use.name for name in shown & RECORDED.keys() for use in uses(RECORDED[name])}
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported()} - families == set()


@pytest.mark.parametrize(
    ("expression", "read", "by"),
    [
        ('sum by (a, b) (rate(x_total{c="d{",e!~"f|g"}[5m])) > 1', [("x_total", True)], {"a", "b"}),
        ("histogram_quantile(0.9, sum(rate(x_bucket[$__rate_interval])) by (le))", [("x_bucket", True)], {"le"}),
        (
            'r:one{a="b"} / on (n) group_left (m) r:two and x',
            [("r:one", False), ("r:two", False), ("x", False)],
            {"n", "m"},
        ),
        ("sum(x)", [("x", False)], set()),
    ],
)
def test_the_reader_of_queries_itself(expression: str, read: list[tuple[str, bool]], by: set[str]) -> None:
    assert [(use.name, use.has_range) for use in uses(expression)] == read
    assert grouped_by(expression) == by
