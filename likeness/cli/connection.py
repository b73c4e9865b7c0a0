"""Which gateway a command talks to."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from likeness import DEFAULT_ADDRESS, Client


def home() -> Path:
    """Folder of the embedded cluster."""
    return Path(os.environ.get("LIKENESS_HOME") or Path.home() / ".likeness")


@dataclass(frozen=True)
class RunningCluster:
    """What the embedded cluster says of itself in its home."""

    address: str
    profile: str


def running_cluster() -> RunningCluster | None:
    """The embedded cluster, if one is ready."""
    try:
        about = json.loads((home() / "cluster.json").read_text(encoding="utf-8"))
        os.kill(int(about["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return RunningCluster(str(about["address"]), str(about["profile"])) if about.get("ready") else None


def address(args: Namespace) -> str:
    """--address, else LIKENESS_ADDRESS, else the running embedded cluster, else the default port."""
    given: str = args.address or os.environ.get("LIKENESS_ADDRESS") or ""
    running = None if given else running_cluster()
    return given or (running.address if running else DEFAULT_ADDRESS)


def connect(args: Namespace) -> Client:
    """A client for the command's gateway."""
    return Client(address(args))
