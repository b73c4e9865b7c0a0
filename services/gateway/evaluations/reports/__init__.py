"""The results of an evaluation in figures: means by group and system, and each system against a baseline."""

from services.gateway.evaluations.reports.figures import (
    MAX_TOLD,
    Comparison,
    Figures,
    Mean,
    Report,
    Systems,
    chosen_baseline,
)
from services.gateway.evaluations.reports.values import ItemValues, ScoreValue, item_values

__all__ = [
    "MAX_TOLD",
    "Comparison",
    "Figures",
    "ItemValues",
    "Mean",
    "Report",
    "ScoreValue",
    "Systems",
    "chosen_baseline",
    "item_values",
]
