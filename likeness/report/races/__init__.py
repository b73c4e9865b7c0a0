"""The report of a race: one self-contained HTML file, its values as JSON, its tables as CSV."""

from likeness.report.races.collecting import RaceReport, collect_race
from likeness.report.races.page import render_race
from likeness.report.races.writing import write_race_report

__all__ = ["RaceReport", "collect_race", "render_race", "write_race_report"]
