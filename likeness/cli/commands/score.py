"""`score`: how alike pictures are, outside any session."""

from __future__ import annotations

import argparse

from likeness import ImageScores
from likeness._numbers import arrow, metric_text
from likeness.cli.arguments import add_metrics, command
from likeness.cli.connection import connect
from likeness.cli.output import Output


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "score", _run, "score pictures against a target picture")
    parser.add_argument("target", help="picture to compare with")
    parser.add_argument("candidates", nargs="+", metavar="candidate", help="pictures to score")
    parser.add_argument("--text", default="", help="text for text-image metrics")
    add_metrics(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        results = client.score(args.target, args.candidates, text=args.text, metrics=args.metrics)
    if output.json:
        for path, result in zip(args.candidates, results, strict=True):
            output.value({"candidate": path, "result": result})
    else:
        _table(args.candidates, results, output)
    return 1 if any(result.error for result in results) else 0


def _table(paths: list[str], results: tuple[ImageScores, ...], output: Output) -> None:
    scored = next((result.scores for result in results if result.scores), ())
    columns = ["candidate", *(f">{score.metric} {arrow(score.higher_is_better)}" for score in scored)]
    rows = [
        [path, *([metric_text(score) for score in result.scores] if not result.error else [result.error.message])]
        for path, result in zip(paths, results, strict=True)
    ]
    output.table(columns, rows)
    if scored:
        output.say("↑ more is more alike, ↓ less is more alike")
    cut = dict.fromkeys(score.metric for result in results for score in result.scores if score.text_truncated)
    if cut:
        output.say(f"the text is longer than {', '.join(cut)} can read: its end was left out")
