"""The report of a session: one self-contained HTML file, the best picture and the result as JSON."""

from likeness.report.collecting import ReportData, collect
from likeness.report.page import render
from likeness.report.writing import write_report

__all__ = ["ReportData", "collect", "render", "write_report"]
