"""What the cluster says on stdout while it starts and stops: one JSON object a line, or plain words."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Literal

from services.cluster.processes import StartError, log_tail
from services.cluster.state import ClusterState

PartState = Literal["starting", "ready", "died", "stopped"]


class Reporter:
    """Writes events: `event` is "part", "ready", "failed", "stopping" or "stopped", `seconds` counts from the start."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._start = time.monotonic()

    def part(self, name: str, state: PartState, detail: str = "") -> None:
        """A part ("postgres", "redis", "ray", "generator", "scorer", "refiner", "gateway") changed."""
        words = f"{name}: {state}" + (f" ({detail})" if detail else "")
        self._say({"event": "part", "part": name, "state": state, "detail": detail}, words)

    def ready(self, state: ClusterState, *, already_running: bool) -> None:
        """The gateway answers and everything it needs does."""
        values: dict[str, object] = {
            "event": "ready",
            "already_running": already_running,
            "address": state.address,
            "http_address": state.http_address,
            "backends_address": state.backends_address,
            "profile": state.profile,
            "pid": state.pid,
            "log_dir": state.log_dir,
            "processes": state.processes,
        }
        words = "already running" if already_running else "ready"
        self._say(values, f"{words}: gateway {state.address}, metrics http://{state.http_address}/metrics")

    def failed(self, error: StartError) -> None:
        """The cluster does not start, or lost a part for good."""
        tail = log_tail(error.log)
        log = error.log and str(error.log)
        values: dict[str, object] = {
            "event": "failed",
            "part": error.part,
            "message": str(error),
            "log": log,
            "log_tail": tail,
        }
        self._say(values, "\n".join([f"{error.part} failed: {error}", *tail, *([f"log: {log}"] if log else [])]))

    def stopping(self) -> None:
        """The cluster was asked to stop."""
        self._say({"event": "stopping"}, "stopping")

    def stopped(self, *, killed: int = 0) -> None:
        """Nothing of the cluster runs any more; `killed` processes had to be forced."""
        self._say({"event": "stopped", "killed": killed}, "stopped")

    def _say(self, values: dict[str, object], words: str) -> None:
        seconds = round(time.monotonic() - self._start, 2)
        line = json.dumps({**values, "seconds": seconds}) if self._as_json else f"[{seconds:6.1f} s] {words}"
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # The reader is gone; stopping must go on. Later writes, and Python's own at exit, go nowhere.
            sys.stdout = Path("/dev/null").open("w", encoding="utf-8")  # noqa: SIM115 - open until exit
