"""The embedded cluster as a child process: starting it, showing its parts come up, stopping it.

`python -m services.cluster.up --json` tells what it does in JSON lines on stdout. It runs in a session of its own, so
that Ctrl-C reaches this process only, which then stops it in order; it ends by itself if this process is killed. The
services are no dependency of this package: where they are not installed, the error says how to get them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likeness.cli.connection import home, running_cluster
from likeness.cli.output import Output
from likeness.cli.startup_view import StartupView

_STOP_SECONDS = 90.0
_INSTALL_ADVICE = 'Install the services with `pip install "likeness[server]"`, or point --address to a running gateway.'


class ClusterError(Exception):
    """The embedded cluster cannot be started, or ended by itself. `advice` says what to do."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `process` is set if this one started it and will stop it."""

    address: str
    process: subprocess.Popen[str] | None = None


@contextmanager
def running(output: Output, *, profile: str = "") -> Iterator[Cluster]:
    """An embedded cluster for the block: a running one if there is one, else one that is stopped at the end.

    Raises:
        ClusterError: It cannot be started, or one with another profile runs.
    """
    known = running_cluster()
    if known is not None:
        if profile and known.profile != profile:
            message = f"a cluster with the profile {known.profile!r} is running at {known.address}"
            raise ClusterError(message, "Stop it first with `likeness down`.")
        output.say(f"Using the cluster that is running at {known.address}.")
        yield Cluster(known.address)
        return
    process = spawn("up", profile)
    try:
        event = follow_until_ready(process, output)
        yield Cluster(str(event["address"]), None if event.get("already_running") else process)
    finally:
        _stop(process, output)


def spawn(module: str, profile: str = "", *options: str) -> subprocess.Popen[str]:
    """Starts `services.cluster.<module> --json`; its stderr goes to a log in the cluster's home."""
    if importlib.util.find_spec("services") is None:
        raise ClusterError("the services are not installed", _INSTALL_ADVICE)
    command: Sequence[str] = [sys.executable, "-m", f"services.cluster.{module}", "--json", *options]
    log = _log_path()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        return subprocess.Popen(
            [*command, "--profile", profile] if profile else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )


def follow_until_ready(process: subprocess.Popen[str], output: Output) -> dict[str, Any]:
    """Shows the parts come up and returns the event that says where the gateway is."""
    with StartupView(output) as view:
        for event in events(process, output):
            view.show(event)
            if event["event"] == "ready":
                return event
    raise _explain_end(process.wait())


def events(process: subprocess.Popen[str], output: Output) -> Iterator[dict[str, Any]]:
    """What the cluster says until its end; with --json passed on as it is.

    Raises:
        ClusterError: It failed.
    """
    assert process.stdout is not None
    for line in process.stdout:
        event = _parse(line)
        if not event:
            continue
        if output.json:
            output.value(event)
        if event["event"] == "failed":
            raise _explain_failure(event)
        yield event


def _parse(line: str) -> dict[str, Any]:
    """An event; anything else that a library may print is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) and "event" in event else {}


def _explain_failure(event: dict[str, Any]) -> ClusterError:
    tail = [str(line) for line in event.get("log_tail") or ()][-3:]
    place = [f"The whole log is in {event['log']}."] if event.get("log") else []
    return ClusterError(f"{event.get('part')}: {event.get('message')}", "\n".join([*tail, *place]))


def _explain_end(code: int) -> ClusterError:
    lines = _log_path().read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"it ended with exit code {code}"
    if last.startswith(("ModuleNotFoundError", "ImportError")):
        return ClusterError(f"a package of the services is missing: {last.partition(': ')[2]}", _INSTALL_ADVICE)
    return ClusterError(f"the cluster did not start: {last}", f"The whole log is in {_log_path()}.")


def _stop(process: subprocess.Popen[str], output: Output) -> None:
    """Stops the cluster and waits for all of it to be gone; a second Ctrl-C does not leave half of it behind."""
    if process.poll() is None:
        output.say("Stopping the cluster ...")
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            # Reads what it says meanwhile, so that a full pipe never holds it up.
            process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            output.say("Still stopping the cluster, one moment ...")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _log_path() -> Path:
    return home() / "logs" / "up.log"
