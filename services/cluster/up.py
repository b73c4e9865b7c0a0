"""Starts the embedded cluster: `python -m services.cluster.up [--profile NAME] [--home DIR] [--detach] [--json]`.

Stays in the foreground until SIGINT, SIGTERM or the end of its parent, then stops everything. With --detach it returns
when the cluster is ready and leaves it running; `python -m services.cluster.down` stops it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from services.cluster.events import Reporter
from services.cluster.processes import StartError
from services.cluster.state import ClusterState, Home
from services.cluster.supervisor import Supervisor
from services.common.errors import LikenessError
from services.common.profile import load_profile
from services.common.settings import Settings

POLL_SECONDS = 0.1
LOCK_TRIES = 5
"""A reader of the lock may hold it for a moment."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 after a clean end or if it runs already, 1 if it did not start."""
    parser = argparse.ArgumentParser(prog="python -m services.cluster.up", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", help="name of a file in profiles/, or the path of one")
    parser.add_argument("--home", type=Path, help="folder of stores and logs (LIKENESS_HOME)")
    parser.add_argument("--detach", action="store_true", help="return when ready and leave the cluster running")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    parser.add_argument("--stay", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    given = {"profile": options.profile, "home": options.home}
    reporter = Reporter(as_json=options.json)
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        reporter.failed(StartError("settings", _reasons(error)))
        return 1
    home = Home(settings.home)
    try:
        load_profile(settings.profile)
        if not _lock(home):
            return _join_running(home, reporter)
        if options.detach:
            home.unlock()
            return _detach(home, settings, reporter)
    except LikenessError as error:
        reporter.failed(StartError("settings", error.message))
        return 1
    except StartError as error:
        reporter.failed(error)
        return 1
    supervisor = Supervisor(home, settings, reporter, watch_parent=not options.stay)
    return asyncio.run(supervisor.run())


def _reasons(error: ValidationError) -> str:
    """What is wrong with each setting; those of several settings name them themselves."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    named = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in found]
    return "; ".join(f"{name}: {reason}" if name else reason for name, reason in named)


def _lock(home: Home) -> bool:
    for _ in range(LOCK_TRIES):
        if home.lock():
            return True
        time.sleep(POLL_SECONDS)
    return False


def _join_running(home: Home, reporter: Reporter) -> int:
    """Says where the running cluster is, as soon as it is ready."""
    while home.is_owned():
        state = home.read()
        if state is not None and state.ready:
            reporter.ready(state, already_running=True)
            return 0
        time.sleep(POLL_SECONDS)
    raise StartError("cluster", "the cluster that was starting here has stopped", home.logs / "cluster.log")


def _detach(home: Home, settings: Settings, reporter: Reporter) -> int:
    """Starts this program again in the background and passes on what it says until the cluster is ready."""
    log = home.logs / "cluster.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "services.cluster.up", "--stay", "--json"]
    command += [f"--profile={settings.profile}", f"--home={home.path}"]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    with log.open("rb") as lines:
        while True:
            line = lines.readline()
            if not line.endswith(b"\n"):
                lines.seek(-len(line), 1)
                if child.poll() is not None:
                    raise StartError("cluster", "the cluster ended while it started", log)
                time.sleep(POLL_SECONDS)
                continue
            event = _event(line)
            if event.get("event") == "ready":
                state = home.read() or ClusterState(pid=child.pid, profile=settings.profile)
                reporter.ready(state, already_running=False)
                return 0
            if event.get("event") == "failed":
                path = event.get("log")
                raise StartError(str(event["part"]), str(event["message"]), Path(str(path)) if path else log)
            if event.get("event") == "part":
                reporter.part(str(event["part"]), event["state"], str(event["detail"]))  # type: ignore[arg-type]


def _event(line: bytes) -> dict[str, object]:
    """An event of the child; anything else in its log (a traceback) is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
