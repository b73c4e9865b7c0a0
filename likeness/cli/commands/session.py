"""`session ...`: the human loop in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from likeness import Aspect, Client, LikenessError, Round, Session, SessionDetails
from likeness._numbers import age_text, arrow, gain_text, metric_text, score_text
from likeness.cli.arguments import Run, add_metrics, command
from likeness.cli.connection import connect
from likeness.cli.loop_view import LoopView, prompt_text, takeover_hint
from likeness.cli.output import Output


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    summary = "steer a regeneration yourself: new, submit, feedback, rank, show, list, delete, pause, resume, cancel"
    group = commands.add_parser("session", help=summary, description=summary)
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    new = command(verbs, "new", _new, "create a session for a target picture")
    new.add_argument("target", help="picture to regenerate")
    add_metrics(new)
    new.add_argument("--model", default="", help="generator model (default: the profile's)")
    new.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    new.add_argument("--guidance-scale", type=float, metavar="X", help="guidance scale (default: the model's)")
    new.add_argument("--seed", type=int, default=0, help="seed that all others derive from (default: 0)")
    new.add_argument("--hide-scores", action="store_true", help="compute scores but do not show them")
    new.add_argument("--name", default="", help="text to find it again by")

    submit = _verb(verbs, "submit", _submit, "make and score pictures for a prompt")
    submit.add_argument("prompt")
    submit.add_argument("--images", type=int, metavar="N", help="pictures to make (default: 1)")

    feedback = _verb(verbs, "feedback", _feedback, "say what should change and get the revised prompt")
    feedback.add_argument("text")
    feedback.add_argument("--aspect", type=Aspect, choices=list(Aspect), metavar="|".join(Aspect))
    feedback.add_argument("--candidate", default="", metavar="ID", help="whose prompt to revise (default: the best)")

    rank = _verb(verbs, "rank", _rank, "order candidates by likeness, most similar first")
    rank.add_argument("candidates", nargs="+", metavar="candidate")

    show = _verb(verbs, "show", _show, "show a session with its rounds")
    show.add_argument("--out", type=Path, metavar="DIR", help="also write report.html, best.png and result.json there")

    listing = command(verbs, "list", _list, "list sessions, newest first")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="most sessions to list (default: 20)")

    delete = command(verbs, "delete", _delete, "delete sessions with their rounds and events")
    delete.add_argument("sessions", nargs="+", metavar="session")

    pause = _verb(verbs, "pause", _pause, "take over from the loop of a session: it stops after the round under way")
    pause.add_argument("--now", action="store_true", help="stop in the middle of the round")
    _verb(verbs, "resume", _resume, "hand a session back to its paused loop")
    _verb(verbs, "cancel", _cancel, "stop the loop or round of a session")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Run, summary: str
) -> argparse.ArgumentParser:
    parser = command(verbs, name, run, summary)
    parser.add_argument("session", help="session id or name")
    return parser


def _new(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        session = client.create_session(
            args.target,
            metrics=args.metrics,
            generator_model=args.model,
            steps=args.steps,
            guidance_scale=args.guidance_scale,
            seed=args.seed,
            show_scores=not args.hide_scores,
            display_name=args.name,
        )
    if output.json:
        output.value(session)
        return 0
    target = session.target
    output.say(Text.assemble((session.id, "bold"), f"  target {target.width_pixels} x {target.height_pixels} px"))
    output.say(f'Next: likeness session submit {session.id} "a prompt"')
    return 0


def _submit(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        show_scores = client.get_session(args.session).session.settings.show_scores
        _follow_prompt(client, args, LoopView(output, show_scores=show_scores), output)
    return 0


def _follow_prompt(client: Client, args: argparse.Namespace, view: LoopView, output: Output) -> None:
    with view:
        try:
            for event in client.submit_prompt(args.session, args.prompt, image_count=args.images):
                view.show(event)
        except KeyboardInterrupt:
            _cancel_and_say(client, args.session, output)
            raise


def _cancel_and_say(client: Client, session: str, output: Output) -> None:
    """Stops the work of a session that Ctrl-C left."""
    try:
        client.cancel_loop(session)
    except LikenessError as error:
        output.notes.print(f"{session} could not be cancelled: {error.message}")
    else:
        output.notes.print(f"{session} cancelled.")


def _feedback(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        revised = client.submit_feedback(args.session, args.text, aspect=args.aspect, candidate_id=args.candidate)
    if output.json:
        output.value(revised)
        return 0
    output.say(revised.text)
    for edit in revised.edits:
        output.say(Text(f"  {edit.property}: {edit.before or '(nothing)'} -> {edit.after or '(nothing)'}", style="dim"))
    return 0


def _rank(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        ranking = client.rank_images(args.session, args.candidates)
    if output.json:
        output.value(ranking)
    output.say(" > ".join(ranking.candidate_ids))
    return 0


def _show(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        details = client.get_session(args.session)
        if args.out:
            from likeness.report import write_report

            written = write_report(client, details, args.out)
    if output.json:
        output.value(details)
        return 0
    _describe(details, output)
    if args.out:
        output.say(f"Report: {written}")
    return 0


def _describe(details: SessionDetails, output: Output) -> None:
    session = details.session
    line = Text.assemble((session.id, "bold"), f"  {session.state}, seed {session.settings.seed}")
    if session.stop_reason:
        line.append(f", {session.stop_reason.replace('_', ' ')}")
    output.say(line + Text(f"  {session.display_name}", style="dim"))
    if session.error:
        output.say(Text(f"{session.error.message} ({session.error.reason})", style="red"))
    if session.tree:
        output.say(f"target  {session.tree.base_caption}")
    for item in details.rounds:
        output.say()
        _describe_round(item, output, show_scores=session.settings.show_scores)
    for ranking in details.rankings:
        output.say(f"ranked  {' > '.join(ranking.candidate_ids)}")


def _describe_round(item: Round, output: Output, *, show_scores: bool) -> None:
    gain = gain_text(item.gain) if show_scores else ""
    output.say(Text.assemble((f"round {item.number}", "bold"), (f"  {item.strategy}  {gain}".rstrip(), "dim")))
    scored = next((candidate.scores for candidate in item.candidates if candidate.scores), ()) if show_scores else ()
    columns = [
        "  id",
        *([">score"] if show_scores else []),
        *(f">{s.metric} {arrow(s.higher_is_better)}" for s in scored),
    ]
    rows: list[Sequence[str | Text]] = []
    for candidate in item.candidates:
        mark = "*" if show_scores and candidate.id == item.best_candidate_id else " "
        cells: list[str | Text] = [f"{mark} {candidate.id}"]
        if show_scores:
            cells.append(score_text(candidate.loop_score))
        cells += [metric_text(candidate.score(score.metric)) for score in scored]
        problem = f"failed: {candidate.error.message}" if candidate.error else ""
        cells.append(
            Text(problem, style="red") if problem else prompt_text(item.base_prompt, candidate.prompt, output.console)
        )
        rows.append(cells)
    output.table([*columns, "prompt"], rows)


def _list(args: argparse.Namespace, output: Output) -> int:
    rows = []
    with connect(args) as client:
        for number, session in enumerate(client.list_sessions(page_size=min(max(args.limit, 1), 200)), 1):
            if number > args.limit:
                break
            if output.json:
                output.value(session)
            rows.append(_row(session))
    if not output.json:
        output.table(("session", "state", ">rounds", ">best", ">changed", "name", "best prompt"), rows)
    return 0


def _row(session: Session) -> tuple[str, ...]:
    best = session.best if session.settings.show_scores else None
    score, prompt = (score_text(best.loop_score), best.prompt) if best else ("-", "")
    return (
        session.id,
        session.state.value,
        str(session.round_count),
        score,
        age_text(session.update_time),
        session.display_name,
        prompt,
    )


def _delete(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        for session in args.sessions:
            client.delete_session(session)
            if output.json:
                output.value({"deleted": session})
            output.say(f"{session} deleted")
    return 0


def _pause(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        session = client.pause_loop(args.session, at_once=args.now)
    if output.json:
        output.value(session)
        return 0
    output.say(f"{session.id} {session.state}")
    if session.paused_loop is not None:
        done, rounds = session.paused_loop.rounds_done, session.paused_loop.settings.rounds
        output.say(Text(f"  {done} of {rounds} rounds done; {takeover_hint(session.id)}", style="dim"))
    return 0


def _resume(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        session = client.resume_loop(args.session)
    if output.json:
        output.value(session)
        return 0
    output.say(f"{session.id} {session.state}")
    output.say(Text(f"  see it with: likeness watch {session.id}", style="dim"))
    return 0


def _cancel(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        session = client.cancel_loop(args.session)
    if output.json:
        output.value(session)
    output.say(f"{session.id} {session.state}")
    return 0
