"""The results of an evaluation in figures: means by group and system, and each system against a baseline."""

from services.gateway.evaluations.reports.figures import Comparison, Mean, Report, figures_of
from services.gateway.evaluations.reports.values import ItemValues, item_values

__all__ = ["Comparison", "ItemValues", "Mean", "Report", "figures_of", "item_values"]
