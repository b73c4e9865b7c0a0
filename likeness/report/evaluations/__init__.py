"""Reports of evaluations, as a page or as Markdown, in the layout of PRIP's tables 1 and 2."""

from likeness.report.evaluations.writing import write_evaluation_report

__all__ = ["write_evaluation_report"]
