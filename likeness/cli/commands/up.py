"""`up`, `serve`, `down`: the embedded cluster by itself."""

from __future__ import annotations

import argparse

from likeness.cli import cluster
from likeness.cli.arguments import command
from likeness.cli.cluster import ClusterError
from likeness.cli.connection import running_cluster
from likeness.cli.output import Output


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    up = command(commands, "up", _up, "start the embedded cluster and keep it up until Ctrl-C", connects=False)
    up.add_argument("--detach", action="store_true", help="return when it is ready; `likeness down` stops it")
    serve = command(commands, "serve", _serve, "like up, and say what to try", connects=False)
    for parser in (up, serve):
        parser.add_argument("--profile", default="", help="models to run (default: LIKENESS_PROFILE, else embedded)")
    command(commands, "down", _down, "stop the embedded cluster", connects=False)


def _up(args: argparse.Namespace, output: Output) -> int:
    if args.detach:
        cluster.follow_until_ready(cluster.spawn("up", args.profile, "--detach"), output)
        return 0
    return _stay(args.profile, output, hints=False)


def _serve(args: argparse.Namespace, output: Output) -> int:
    return _stay(args.profile, output, hints=True)


def _down(_: argparse.Namespace, output: Output) -> int:
    process = cluster.spawn("down")
    for event in cluster.events(process, output):
        if event["event"] == "stopped":
            output.say("Nothing of the cluster runs any more.")
    return process.wait()


def _stay(profile: str, output: Output, *, hints: bool) -> int:
    known = running_cluster()
    if known is not None:
        raise ClusterError(f"a cluster is running already at {known.address}", "Stop it first with `likeness down`.")
    with cluster.running(output, profile=profile) as started:
        if started.process is None:
            return 0
        if hints:
            output.say("\nTry in another terminal:")
            for line in ("status", "regenerate picture.png --out out", "score picture.png other.png"):
                output.say(f"  likeness {line}")
            output.say()
        output.say("Ctrl-C stops it.")
        try:
            for event in cluster.events(started.process, output):
                if event["event"] == "part":
                    output.say(f"{event['part']} {event['state']} {event['detail']}".rstrip())
        except KeyboardInterrupt:
            return 0
        code = started.process.wait()
    if code != 0:
        raise ClusterError(f"the cluster ended by itself with exit code {code}")
    return 0
