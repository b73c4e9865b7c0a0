"""Queue, batches and time of metrics."""

from __future__ import annotations

from deploy.monitoring.boards.queries import quantile, rate
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

SCORER = Dashboard(
    "likeness-scorer",
    "Likeness / Scorer",
    "Queue, batches and time of metrics.",
    [
        Row(
            "Work",
            [
                Panel(
                    "Requests in a replica",
                    [
                        Query("avg(likeness_scorer_queue_depth{$ns})", "mean"),
                        Query("max(likeness_scorer_queue_depth{$ns})", "most"),
                    ],
                    note="A replica takes 8 and works on 2 at once.",
                ),
                Panel("Embeddings", [Query(rate("likeness_scorer_embeddings_total", "model"), "{{model}}")], "ops"),
                Panel(
                    "Pictures per pass", [Query(rate("likeness_scorer_batch_pictures_bucket", "le"))], kind="heatmap"
                ),
                Panel(
                    "Time of a metric and batch, 95 %",
                    [quantile(0.95, "likeness_scorer_metric_seconds", "metric")],
                    "s",
                    width=12,
                ),
                Panel(
                    "Scores that failed",
                    [Query(rate("likeness_scorer_metric_failures_total", "metric"), "{{metric}}")],
                    "ops",
                    width=12,
                ),
            ],
        ),
    ],
)
