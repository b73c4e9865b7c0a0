"""Stops the embedded cluster of a home: `python -m services.cluster.down [--home DIR] [--json]`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from services.cluster import processes
from services.cluster.events import Reporter
from services.cluster.state import Home, remove_run_dir
from services.common.settings import Settings

STOP_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns 0 when nothing runs any more."""
    parser = argparse.ArgumentParser(prog="python -m services.cluster.down", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="folder of stores and logs (LIKENESS_HOME)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    options = parser.parse_args(arguments)
    home = Home(options.home or Settings().home)
    killed = stop_cluster(home)
    Reporter(as_json=options.json).stopped(killed=killed)
    return 0


def stop_cluster(home: Home, *, timeout_seconds: float = STOP_SECONDS) -> int:
    """Stops the cluster and waits for its end; returns how many processes had to be killed."""
    state = home.read()
    if state is not None and home.is_owned():
        with suppress(psutil.Error):
            supervisor = psutil.Process(state.pid)
            supervisor.send_signal(signal.SIGTERM)
            supervisor.wait(timeout_seconds)
    # The supervisor was killed, or hangs: what it started is recorded.
    left = home.read()
    if left is None:
        return 0
    pids = [*left.processes.values(), *([left.pid] if home.is_owned() else [])]
    killed = processes.kill_recorded(pids, left.run_dir)
    remove_run_dir(left.run_dir)
    home.clear()
    return killed


if __name__ == "__main__":
    sys.exit(main())
