"""`backup create|list|verify|restore`: everything of a deployment, in a folder or in S3-compatible storage."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from likeness.cli.arguments import UsageError, command
from likeness.cli.backups import run_backup
from likeness.cli.output import Output

_PLACE = "folder or s3://bucket/prefix where backups lie"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    summary = "backups of a deployment: create, list, verify, restore"
    group = commands.add_parser("backup", help=summary, description=summary)
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = command(verbs, "create", _create, "back up database and pictures while gateways work", connects=False)
    create.add_argument("place", help=_PLACE)
    create.add_argument("--keep", type=int, metavar="N", help="remove all but the newest N backups afterwards")

    listing = command(verbs, "list", _list, "list the backups of a place, oldest first", connects=False)
    listing.add_argument("place", help=_PLACE)

    verify = command(verbs, "verify", _verify, "read all of a backup and compare it with its digests", connects=False)
    verify.add_argument("place", help=_PLACE)
    verify.add_argument("name", nargs="?", help="name of the backup (default: the newest)")

    restore = command(verbs, "restore", _restore, "bring a backup back; no gateway may run", connects=False)
    restore.add_argument("place", help=_PLACE)
    restore.add_argument("name", nargs="?", help="name of the backup (default: the newest)")
    restore.add_argument("--replace", metavar="DATABASE", help="name of a database whose rows are given up for it")


def _create(args: argparse.Namespace, output: Output) -> int:
    if args.keep is not None and args.keep < 1:
        raise UsageError(f"--keep is {args.keep}; allowed: at least 1")
    keep = [] if args.keep is None else [f"--keep={args.keep}"]
    said = run_backup("create", args.place, *keep)
    return _follow(said, output, "backed up", lost="that rows name are lost: the object store does not have them whole")


def _list(args: argparse.Namespace, output: Output) -> int:
    found = [said for said in run_backup("list", args.place) if said["kind"] == "backup"]
    if output.json:
        for one in found:
            output.value(one)
        return 0
    columns = ("backup", ">sessions", ">rows", ">objects", ">lost", "release", "revision")
    output.table(columns, [_row(one) for one in found])
    return 0


def _verify(args: argparse.Namespace, output: Output) -> int:
    said = run_backup("verify", args.place, *_named(args))
    return _follow(said, output, "read", lost="of the backup are lost or damaged")


def _restore(args: argparse.Namespace, output: Output) -> int:
    replace = [] if args.replace is None else [f"--replace={args.replace}"]
    said = run_backup("restore", args.place, *_named(args), *replace)
    status = _follow(said, output, "restored", lost="are lost: neither the backup nor the object store has them")
    output.say("Next: start the gateways, run `likeness doctor`, and revoke again the keys that were revoked since.")
    return status


def _named(args: argparse.Namespace) -> list[str]:
    return [] if args.name is None else [f"--name={args.name}"]


def _follow(said: Iterator[dict[str, Any]], output: Output, done: str, *, lost: str) -> int:
    """Shows what is said until its end; returns the exit code."""
    status = 1
    for one in said:
        if one["kind"] == "end":
            status = int(one["status"])
        elif output.json:
            output.value(one)
        elif one["kind"] == "progress":
            output.notes.print(f"  {one['step']}: {one['done']:,}", style="dim")
        elif one["kind"] == "backup":
            what = f"{_sum(one):,} rows, {one['objects']:,} objects, revision {one['revision']}"
            output.say(f"{one['name']} {done}: {what}")
        elif one["kind"] == "lost":
            output.say(f"{one['count']:,} objects {lost}: {_some(one['objects'], one['count'])}")
        elif one["kind"] == "thinned":
            output.say(f"{len(one['backups'])} older backups and {one['objects']:,} objects removed")
    return status


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    sessions = f"{one['rows'].get('sessions', 0):,}"
    counts = (sessions, f"{_sum(one):,}", f"{one['objects']:,}", f"{one['lost_objects']:,}")
    return one["name"], *counts, one["version"], one["revision"]


def _sum(one: dict[str, Any]) -> int:
    return sum(one["rows"].values())


def _some(hashes: Iterable[str], count: int) -> str:
    shown = list(hashes)
    return ", ".join(one[:12] for one in shown) + (" ..." if count > len(shown) else "")
