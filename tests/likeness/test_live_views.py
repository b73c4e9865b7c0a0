"""Views with a live region: in a terminal only, and gone when they should be."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.text import Text

from likeness import Evaluation, EvaluationSettings, EvaluationState, ItemError
from likeness.cli.evaluation_view import EvaluationView
from likeness.cli.live_view import LiveView
from likeness.cli.output import Output

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUNNING = Evaluation(
    name="evaluations/e1",
    display_name="",
    settings=EvaluationSettings(("ssim",)),
    state=EvaluationState.RUNNING,
    create_time=NOW,
    update_time=NOW,
    done_count=4,
    failed_count=0,
    total_count=10,
    committed_offset=4,
)
WAITING = replace(
    RUNNING, state=EvaluationState.PENDING, wait_reason=ItemError("QUOTA_EXCEEDED", "the day is used up", "")
)


class Moving(LiveView):
    """A region with one word."""

    def _region(self) -> Text:
        return Text("moving")


@pytest.mark.parametrize(
    ("terminal", "as_json", "shown"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_the_region_is_where_somebody_looks(terminal: bool, as_json: bool, shown: bool) -> None:
    output, written = _output(terminal=terminal, as_json=as_json)
    with Moving(output, frames_per_second=4, transient=False) as view:
        view.close()
        # A second end changes nothing.
        view.close()
    assert written.getvalue().count("moving") >= 1 if shown else not written.getvalue()


def test_an_evaluation_that_waits_says_why() -> None:
    output, written = _output(terminal=False)
    with EvaluationView(output) as view:
        view.show(WAITING)
    assert "4 of 10 items, the day is used up" in written.getvalue()


def test_a_bar_in_a_terminal() -> None:
    output, written = _output(terminal=True)
    with EvaluationView(output) as view:
        view.show(RUNNING)
    assert "evaluations/e1" in written.getvalue() and "4 of 10 items" in written.getvalue()


def _output(*, terminal: bool, as_json: bool = False) -> tuple[Output, io.StringIO]:
    output, written = Output(as_json=as_json), io.StringIO()
    output.console = Console(file=written, force_terminal=terminal, width=200)
    return output, written
