"""Dashboards in few words, and as the JSON that Grafana imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["short", "s", "reqps", "percentunit", "bytes", "none", "ops"]
Kind = Literal["timeseries", "stat", "heatmap", "bargauge"]

SCHEMA_VERSION = 39
"""Of Grafana 11; later ones bring it up to date by themselves."""
COLUMNS, HEIGHT = 24, 8
NAMESPACE = 'namespace=~"$namespace"'
"""What every query filters by. Without Kubernetes there is no such label, and "All" matches that too."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what Grafana writes beside its lines; $ns stands for the filter by namespace."""

    expression: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """The expression as Prometheus gets it."""
        return self.expression.replace("$ns", NAMESPACE)


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: What it shows.
        queries: What is drawn.
        unit: Grafana's name of the unit of all queries.
        note: What to read from it, for the i in its corner.
        kind: Grafana's type of panel. A heatmap takes buckets of a histogram by `le`.
        width: Of 24 columns.
        most: End of the scale, where there is one.
    """

    title: str
    queries: Sequence[Query]
    unit: Unit = "short"
    note: str = ""
    kind: Kind = "timeseries"
    width: int = 8
    most: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """A page. `uid` is a stable part of its address, and the name of its file."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    def queries(self) -> list[Query]:
        """Everything that the page asks Prometheus for."""
        return [query for row in self.rows for panel in row.panels for query in panel.queries]

    def as_json(self) -> dict[str, Any]:
        """As Grafana imports and provisions it."""
        panels: list[dict[str, Any]] = []
        top = 0
        for row in self.rows:
            panels.append(_heading(row, len(panels) + 1, top))
            top, left = top + 1, 0
            for panel in row.panels:
                if left + panel.width > COLUMNS:
                    top, left = top + HEIGHT, 0
                panels.append(_panel(panel, len(panels) + 1, left, top))
                left += panel.width
            top += HEIGHT
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["likeness"],
            "timezone": "",
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "links": [
                {"type": "dashboards", "tags": ["likeness"], "title": "Likeness", "asDropdown": True, "keepTime": True}
            ],
            "templating": {"list": [_datasource(), _namespace()]},
            "annotations": {"list": []},
            "panels": panels,
        }


def _heading(row: Row, number: int, top: int) -> dict[str, Any]:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
    return {"type": "row", "id": number, "title": row.title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    is_heatmap = panel.kind == "heatmap"
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    return {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query.promql,
                "legendFormat": "{{le}}" if is_heatmap else query.legend or "__auto",
                "format": "heatmap" if is_heatmap else "time_series",
                "range": True,
            }
            for position, query in enumerate(panel.queries)
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}


def _namespace() -> dict[str, Any]:
    return {
        "type": "query",
        "name": "namespace",
        "label": "Namespace",
        "datasource": _SOURCE,
        "query": {"query": "label_values(likeness_gateway_component_up, namespace)", "refId": "namespaces"},
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


_OPTIONS: dict[Kind, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "bargauge": {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal", "displayMode": "basic"},
    "heatmap": {"calculate": False, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}},
}
