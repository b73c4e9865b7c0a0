"""`doctor`: what is wrong with a deployment, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rich.text import Text

from likeness import Client, RetryPolicy, Tls
from likeness.cli.arguments import command
from likeness.cli.connection import address
from likeness.cli.output import Output
from likeness.doctor import Finding, State, examine, examine_host, examine_manifests, is_this_host

_TIMEOUT_SECONDS = 30.0
_STYLES = {
    State.OK: "green",
    State.NOTE: "dim",
    State.WARNING: "yellow",
    State.PROBLEM: "bold red",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "doctor", _run, "check a deployment and say what is wrong; exit code 1 if something is")
    parser.add_argument("--deep", action="store_true", help="also make a tiny picture and score it")
    parser.add_argument("--k8s", metavar="DIR", help="check Kubernetes manifests or a kustomize overlay instead")


def _run(args: argparse.Namespace, output: Output) -> int:
    states = [_show(finding, output) for finding in _findings(args)]
    problems, warnings = states.count(State.PROBLEM), states.count(State.WARNING)
    summary = f"\n{_count(problems, 'problem')}, {_count(warnings, 'warning')}"
    left_out = states.count(State.SKIPPED)
    output.say(summary + (f"; {_count(left_out, 'check')} left out because of the first problem" if left_out else ""))
    return 1 if problems else 0


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    if args.k8s is not None:
        yield from examine_manifests(args.k8s)
        return
    where, tls = address(args), Tls.from_environment()
    with Client(where, tls=tls, timeout_seconds=_TIMEOUT_SECONDS, retry=RetryPolicy(attempts=1)) as client:
        yield from examine(client, tls, deep=args.deep)
    if is_this_host(where):
        yield from examine_host()


def _show(finding: Finding, output: Output) -> State:
    if output.json:
        output.value(finding)
        return finding.state
    if finding.state is State.SKIPPED:
        return finding.state
    mark = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
    output.say(mark + Text(f" {finding.check:<13}", style="bold") + Text(finding.message))
    if finding.advice:
        output.say(Text(f"{'':<23}{finding.advice}", style="dim"))
    return finding.state


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
