"""`profile ...`: personal metrics that learn from rankings."""

from __future__ import annotations

import argparse

from rich.text import Text

from likeness import Client, NotFound, Profile, ProfileVersion
from likeness.cli.arguments import Run, command
from likeness.cli.connection import connect
from likeness.cli.output import Output
from likeness.cli.profile_view import show_profiles, show_report, show_versions


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    summary = "metrics that learn your eye: create, fit, report, list, versions, rollback, delete"
    group = commands.add_parser("profile", help=summary, description=summary)
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = _verb(verbs, "create", _create, "create a metric of your own, clpips:NAME")
    create.add_argument("--parent", default="", metavar="NAME", help="profile to start from (default: LPIPS)")
    create.add_argument("--base-metric", default="", metavar="METRIC", help="LPIPS metric to start from")
    create.add_argument("--display-name", default="", metavar="TEXT", help="name for people")

    fit = _verb(verbs, "fit", _fit, "learn from your rankings, those given before included")
    # argparse would put the name last, where an option's list of values swallows it.
    fit.usage = f"{fit.prog} [-h] [--json] [--address HOST:PORT] name [--session S ...] [--ranking TARGET PICTURE ...]"
    fit.add_argument(
        "--session", nargs="+", action="extend", default=[], metavar="S", help="sessions that you have ranked"
    )
    fit.add_argument(
        "--ranking",
        nargs="+",
        action="append",
        default=[],
        metavar=("TARGET", "PICTURE"),
        help="a target picture, then the pictures made for it, most similar first; repeat it for every target",
    )

    report = _verb(verbs, "report", _report, "show how well it agrees with you, next to LPIPS")
    report.add_argument("--version", type=int, metavar="N", help="version to report (default: the active one)")

    command(verbs, "list", _list, "list profiles")
    _verb(verbs, "versions", _versions, "list the versions of a profile, newest first")

    rollback = _verb(verbs, "rollback", _rollback, "score by a stored version from now on")
    rollback.add_argument("version", type=int)

    delete = command(verbs, "delete", _delete, "delete profiles with their versions and rankings")
    delete.add_argument("profiles", nargs="+", metavar="name")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Run, summary: str
) -> argparse.ArgumentParser:
    parser = command(verbs, name, run, summary)
    parser.add_argument("profile", metavar="name", help="id of the profile")
    return parser


def _create(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        profile = client.create_profile(
            args.profile, display_name=args.display_name, parent=args.parent, base_metric=args.base_metric
        )
    if output.json:
        output.value(profile)
        return 0
    start = f"clpips:{profile.parent}" if profile.parent else profile.base_metric
    output.say(Text.assemble((profile.metric, "bold"), f"  scores as {start} until it is fitted"))
    output.say(f"Next: likeness profile fit {profile.id} --session SESSION")
    return 0


def _fit(args: argparse.Namespace, output: Output) -> int:
    rankings = [(target, pictures) for target, *pictures in args.ranking]
    with connect(args) as client:
        profile = client.fit_profile(args.profile, sessions=args.session, rankings=rankings)
    if output.json:
        output.value(profile)
        return 0
    show_report(profile, profile.active, output)
    return 0


def _report(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        profile = client.profile(args.profile)
        version = profile.active if args.version is None else _find(client, profile, args.version)
    if output.json:
        output.value(version)
        return 0
    show_report(profile, version, output)
    return 0


def _find(client: Client, profile: Profile, number: int) -> ProfileVersion:
    for version in client.profile_versions(profile):
        if version.number == number:
            return version
    message = f"version {number} of {profile.id} does not exist; there are 1 to {profile.version_count}"
    raise NotFound(message, reason="PROFILE_VERSION_NOT_FOUND", field="version")


def _list(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        profiles = list(client.profiles())
    if output.json:
        for profile in profiles:
            output.value(profile)
    else:
        show_profiles(profiles, output)
    return 0


def _versions(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        profile = client.profile(args.profile)
        versions = list(client.profile_versions(profile))
    if output.json:
        for version in versions:
            output.value(version)
    else:
        show_versions(profile, versions, output)
    return 0


def _rollback(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        profile = client.activate_profile_version(args.profile, args.version)
    if output.json:
        output.value(profile)
    output.say(f"{profile.metric} scores by version {profile.active.number}")
    return 0


def _delete(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        for profile in args.profiles:
            client.delete_profile(profile)
            if output.json:
                output.value({"deleted": profile})
            output.say(f"{profile} deleted")
    return 0
