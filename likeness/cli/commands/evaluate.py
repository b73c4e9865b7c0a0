"""`evaluate`: a manifest in, results out; and what one can do with evaluations that are under way."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from rich.text import Text

from likeness import Client, Evaluation, EvaluationOptions, EvaluationResult, EvaluationState, ManifestFormat, NotFound
from likeness._numbers import age_text
from likeness.cli.arguments import UsageError, add_metrics, command
from likeness.cli.connection import connect
from likeness.cli.evaluation_files import check_results_path, write_results
from likeness.cli.evaluation_state import StateFile, digest_of
from likeness.cli.evaluation_view import EvaluationView, show_report
from likeness.cli.output import Output
from likeness.report.evaluations import write_evaluation_report
from likeness.report.evaluations.writing import SUFFIXES


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    parser = command(commands, "evaluate", _run, "score the items of a manifest, making their pictures where needed")
    parser.add_argument("manifest", type=Path, help="JSON lines, Parquet or WebDataset tar (docs/evaluations.md)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="results: .parquet, .jsonl or .csv; required"
    )
    add_metrics(parser)
    _add_generation(parser)
    parser.add_argument("--name", default="", metavar="TEXT", help="name for people (default: the manifest's)")
    parser.add_argument("--format", choices=[str(one) for one in ManifestFormat], help="default: told from the bytes")
    _add_report(parser, "--report")
    group = commands.add_parser("evaluations", help="list and stop evaluations, and report on them")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    command(actions, "list", _list, "list evaluations, newest first")
    for name, run, summary in (
        ("show", _show, "show an evaluation and its means"),
        ("cancel", _cancel, "stop an evaluation; what has a result keeps it"),
        ("delete", _delete, "delete an evaluation with its results"),
    ):
        command(actions, name, run, summary).add_argument("evaluation", help="name or id")
    report = command(actions, "report", _report, "write a report")
    report.add_argument("evaluation", help="name or id")
    _add_report(report, "--out")


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, metavar="N", help="pictures a prompt, 1 to 16; needed for prompts")
    parser.add_argument("--model", metavar="ID", help="generator model (default: the profile's)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed that those of all items derive from (default: 0)")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument("--guidance-scale", type=float, metavar="X", help="guidance scale (default: the model's)")
    parser.add_argument("--width", dest="width_pixels", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--height", dest="height_pixels", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what the pictures should not show")
    parser.add_argument("--keep", action="store_true", help="store the pictures for good")


def _add_report(parser: argparse.ArgumentParser, option: str) -> None:
    required = option == "--out"
    parser.add_argument(
        option, dest="report", type=Path, required=required, metavar="FILE", help="report: .html or .md"
    )
    parser.add_argument(
        "--baseline", default="", metavar="SYSTEM", help="system that the others are compared with (default: the first)"
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    check_results_path(args.out)
    _check_report_path(args.report)
    with connect(args) as client:
        state = StateFile(args.out)
        evaluation = _begun(client, args, state, output)
        try:
            with EvaluationView(output) as view:
                for update in client.watch_evaluation(evaluation, progress_only=True):
                    if isinstance(update, Evaluation):
                        evaluation = update
                        view.show(update)
            write_results(args.out, evaluation.settings.metrics, _results(client, evaluation))
        except KeyboardInterrupt:
            output.notes.print(
                f"{evaluation.name} goes on without you: the same command waits for it again, and "
                f"`likeness evaluations cancel {evaluation.id}` stops it."
            )
            raise
        state.forget()
        return _say(client, evaluation, args, output)


def _begun(client: Client, args: argparse.Namespace, state: StateFile, output: Output) -> Evaluation:
    """The evaluation that the same command began before, or a new one."""
    options = _options(args)
    digest = digest_of(args.manifest, options)
    remembered = state.read()
    if remembered is not None and remembered.digest != digest:
        if remembered.name:
            output.notes.print(f"{remembered.name} was begun with another manifest or other options; it goes on alone.")
        remembered = None
    if remembered is not None and remembered.name:
        try:
            evaluation = client.get_evaluation(remembered.name)
            output.notes.print(f"Going on with {evaluation.name}")
            return evaluation
        except NotFound:
            remembered = None
    remembered = remembered or state.begin(digest)
    evaluation = client.create_evaluation(args.manifest, request_id=remembered.request_id, **options)
    state.created(remembered, evaluation.name)
    return evaluation


def _options(args: argparse.Namespace) -> EvaluationOptions:
    options = EvaluationOptions(metrics=list(args.metrics), display_name=(args.name or args.manifest.name)[:200])
    if args.format:
        options["format"] = ManifestFormat(args.format)
    made = ("model", "seed", "steps", "guidance_scale", "width_pixels", "height_pixels", "negative_prompt")
    given = {name: value for name in made if (value := getattr(args, name)) is not None}
    given |= {"keep": True} if args.keep else {}
    if args.images is None:
        if given:
            raise UsageError(f"--{next(iter(given)).replace('_', '-')} says how pictures are made, and needs --images")
        return options
    options["images"] = args.images
    return cast(EvaluationOptions, {**options, **given})


def _results(client: Client, evaluation: Evaluation) -> Iterator[EvaluationResult]:
    for update in client.watch_evaluation(evaluation):
        if isinstance(update, EvaluationResult):
            yield update


def _say(client: Client, evaluation: Evaluation, args: argparse.Namespace, output: Output) -> int:
    report = client.evaluation_report(evaluation, baseline=args.baseline)
    if args.report is not None:
        write_evaluation_report(report, args.report)
    if output.json:
        files = {"results": str(args.out)} | ({"report": str(args.report)} if args.report else {})
        output.value({"evaluation": evaluation, "report": report, "files": files})
    else:
        show_report(report, output)
        output.say(Text.assemble(("Results  ", "bold"), str(args.out)))
        if args.report is not None:
            output.say(Text.assemble(("Report   ", "bold"), str(args.report)))
    if evaluation.state is not EvaluationState.SUCCEEDED:
        why = f": {evaluation.error.message}" if evaluation.error else ""
        output.notes.print(Text(f"The evaluation was {evaluation.state}{why}", style="red"))
        return 1
    if evaluation.failed_count:
        hint = " Items with prompts need --images." if args.images is None else ""
        output.notes.print(f"{evaluation.failed_count:,} items failed; their rows say why.{hint}")
    return 1 if evaluation.failed_count else 0


def _list(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        found = client.list_evaluations()
        if output.json:
            for one in found:
                output.value(one)
            return 0
        output.table(("evaluation", "name", "state", ">done", ">failed", ">of", "created"), map(_row, found))
    return 0


def _row(one: Evaluation) -> tuple[str, ...]:
    total = "-" if one.total_count is None else f"{one.total_count:,}"
    counts = f"{one.done_count:,}", f"{one.failed_count:,}", total
    return one.id, one.display_name, str(one.state), *counts, age_text(one.create_time)


def _show(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        report = client.evaluation_report(args.evaluation)
    if output.json:
        output.value(report)
        return 0
    one = report.evaluation
    why = f": {one.error.message}" if one.error else ""
    output.say(
        f"{one.name}  {one.display_name}  {one.state}{why}  {one.done_count:,} done, {one.failed_count:,} failed"
    )
    show_report(report, output)
    return 0


def _cancel(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        evaluation = client.cancel_evaluation(args.evaluation)
    if output.json:
        output.value(evaluation)
    output.say(f"{evaluation.name} is {evaluation.state}; {evaluation.done_count:,} items have a result")
    return 0


def _delete(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        client.delete_evaluation(args.evaluation)
    output.say("Deleted")
    return 0


def _report(args: argparse.Namespace, output: Output) -> int:
    _check_report_path(args.report)
    with connect(args) as client:
        report = client.evaluation_report(args.evaluation, baseline=args.baseline)
    write_evaluation_report(report, args.report)
    if output.json:
        output.value({"report": str(args.report)})
    output.say(Text.assemble(("Report  ", "bold"), str(args.report)))
    return 0


def _check_report_path(path: Path | None) -> None:
    if path is not None and path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a report is {' or '.join(SUFFIXES)}")
