"""A loop as it runs: a live region in a terminal, one line an event elsewhere.

Finished rounds stay above the live region, so that the terminal keeps the whole story.
"""

from __future__ import annotations

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from likeness import (
    Candidate,
    CandidateFailed,
    CandidateScored,
    CandidatesRanked,
    Event,
    FeedbackGiven,
    Round,
    RoundFinished,
    RoundStarted,
    SessionSnapshot,
    SessionState,
    StateChanged,
    TargetUnderstood,
)
from likeness._diff import needs_space, word_diff
from likeness._numbers import gain_text, score_text
from likeness.cli.live_view import LiveView
from likeness.cli.loop_state import LoopState
from likeness.cli.output import Output

_STYLES = {"same": "", "added": "bold green", "removed": "dim strike red"}


class LoopView(LiveView):
    """Shows the events of one session; `show` each of them inside the `with` block.

    Args:
        show_scores: False hides scores and which candidate is best, until a snapshot says what the session wants.
    """

    def __init__(self, output: Output, *, show_scores: bool = True) -> None:
        self.state = LoopState()
        self._show_scores = show_scores
        super().__init__(output, frames_per_second=8, transient=False)
        self._is_running = True

    def close(self) -> None:
        """Ends the region, and leaves nothing of the round under way."""
        self._is_running = False
        super().close()

    def show(self, event: Event) -> None:
        """Takes in an event."""
        self.state.apply(event)
        if self._output.json:
            self._output.value(event)
            return
        match event.body:
            case SessionSnapshot(session, rounds):
                self._show_scores = session.settings.show_scores
                line = Text.assemble((session.name, "bold"))
                line.append(f"  {session.state}, {len(rounds)} rounds so far" if rounds else f"  {session.state}")
                self._output.say(line)
            case TargetUnderstood(tree, _):
                self._output.say(Text.assemble(("target  ", "bold"), tree.base_caption))
            case RoundStarted(item) if self._live is None:
                self._output.say(_heading(item))
                for candidate in item.candidates:
                    self._output.say(Text(f"  {candidate.id:<6}") + self._prompt(item, candidate))
            case CandidateScored(candidate) if self._live is None:
                self._output.say(f"  {candidate.id:<6}scored {self._score(candidate)}".rstrip())
            case CandidateFailed(candidate) if self._live is None:
                self._output.say(f"  {candidate.id:<6}{_failure(candidate)}")
            case RoundFinished(item):
                if self._live is not None:
                    self._output.say(_heading(item))
                    self._output.console.print(self._rows(item))
                if self._show_scores:
                    self._output.say(self._result(item))
            case FeedbackGiven(feedback, revised):
                self._output.say(Text.assemble(("feedback  ", "bold"), f"{feedback.text} -> {revised}"))
            case CandidatesRanked(ranking):
                self._output.say(Text.assemble(("ranked  ", "bold"), " > ".join(ranking.candidate_ids)))
            case StateChanged(state, stop_reason, error):
                why = f" ({stop_reason.replace('_', ' ')})" if stop_reason else ""
                message = f": {error.message}" if error else ""
                self._output.say(Text(f"{state}{why}{message}", style="dim"))
                if state is SessionState.PAUSED:
                    self._output.say(Text(f"  {takeover_hint(self.state.session)}", style="dim"))
            case _:
                pass

    def _region(self) -> Group:
        """The round under way, for the live region."""
        item = self.state.round
        if not self._is_running or item is None or item.best_candidate_id:
            return Group()
        best = self.state.best
        if not self._show_scores:
            return Group(_heading(item), self._rows(item))
        footer = Text("  best so far  ", style="dim") + Text(
            score_text(best.loop_score if best else None), style="bold"
        )
        if best:
            footer.append(f"  {best.id}", style="dim")
        return Group(_heading(item), self._rows(item), footer)

    def _rows(self, item: Round) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1), expand=True)
        table.add_column(width=6)
        table.add_column(width=16)
        table.add_column(ratio=1, overflow="fold")
        for candidate in item.candidates:
            is_best = self._show_scores and candidate.id == item.best_candidate_id
            name = Text(f" {candidate.id}", style="bold green" if is_best else "")
            table.add_row(name, self._progress(candidate, is_best), self._prompt(item, candidate))
        return table

    def _progress(self, candidate: Candidate, is_best: bool) -> Text | Table:
        if candidate.error:
            return Text(candidate.error.reason.lower().replace("_", " "), style="red")
        if candidate.loop_score is not None:
            return Text(self._score(candidate) or "done", style="bold green" if is_best else "")
        if candidate.image is not None:
            return Text("scoring", style="cyan")
        return step_bar(*self.state.progress.get(candidate.id, (0, 0)))

    def _score(self, candidate: Candidate) -> str:
        return score_text(candidate.loop_score) if self._show_scores else ""

    def _prompt(self, item: Round, candidate: Candidate) -> Text:
        return prompt_text(item.base_prompt, candidate.prompt, self._output.console)

    def _result(self, item: Round) -> Text:
        best = item.best
        if best is None:
            return Text(f"  round {item.number}: no picture could be scored", style="red")
        line = Text("  best ") + Text(score_text(best.loop_score), style="bold green")
        line.append(f" {best.id}")
        before = self.state.best_before(item.number)
        gain = item.gain if item.gain is not None else None
        if gain is None and before is not None and best.loop_score is not None:
            gain = best.loop_score - before
        if gain is not None:
            line.append(f"   {gain_text(gain)} against the best before", style="green" if gain > 0 else "yellow")
        return line


def takeover_hint(session: str) -> str:
    """What a person can do with a paused loop."""
    return f"your turn: likeness session submit|feedback|rank|resume {session.rpartition('/')[2]}"


def step_bar(step: int, total: int) -> Text | Table:
    """Denoising steps done, as a bar with numbers; both are 0 while the picture is queued."""
    if not total:
        return Text("queued", style="dim")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=total, completed=step, width=9), Text(f"{step}/{total}", style="dim"))
    return bar


def prompt_text(base: str, prompt: str, console: Console) -> Text:
    """A prompt with what changed against the round's base prompt marked, where the console has colors to do so."""
    if not base or base == prompt or console.no_color or not console.is_terminal:
        return Text(prompt)
    text = Text()
    for change, words in word_diff(base, prompt):
        if text and needs_space(words):
            text.append(" ")
        text.append(words, style=_STYLES[change])
    return text


def _heading(item: Round) -> Text:
    what = " · ".join(part for part in (item.strategy, item.aspect and f"looks at {item.aspect}") if part)
    return Text.assemble((f"\nround {item.number}", "bold"), (f"  {what}", "dim"))


def _failure(candidate: Candidate) -> str:
    error = candidate.error
    return f"failed: {error.message} ({error.reason})" if error else "failed"
