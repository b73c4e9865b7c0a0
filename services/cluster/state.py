"""What is known of a running cluster: home/cluster.json for people and programs, home/cluster.lock for one owner."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SHORT_TEMP = Path("/tmp")
"""Unix socket paths hold about 100 characters; the system's own temporary folder may be longer than that."""


@dataclass(frozen=True)
class ClusterState:
    """A cluster's addresses and processes. `ready` is false while it starts."""

    pid: int
    profile: str
    ready: bool = False
    address: str = ""
    """host:port of the gateway's gRPC API."""
    http_address: str = ""
    """host:port of /metrics and /healthz."""
    backends_address: str = ""
    """host:port of Ray Serve's gRPC proxy; empty if none was started."""
    database_url: str = ""
    redis_url: str = ""
    object_store_url: str = ""
    run_dir: str = ""
    """Sockets and Ray's session; gone when the cluster stops."""
    log_dir: str = ""
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids by part."""


class Home:
    """The folder of one cluster."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        self._lock: int | None = None

    @property
    def state_path(self) -> Path:
        """The file that says where the cluster is."""
        return self.path / "cluster.json"

    def lock(self) -> bool:
        """Makes this process the owner; False if another process is. The lock ends with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "cluster.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def unlock(self) -> None:
        """Lets another process be the owner."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_owned(self) -> bool:
        """Whether a process owns the cluster now."""
        if not (self.path / "cluster.lock").exists():
            return False
        probe = Home(self.path)
        if probe.lock():
            probe.unlock()
            return False
        return True

    def read(self) -> ClusterState | None:
        """The state last written, or None."""
        try:
            raw: dict[str, Any] = json.loads(self.state_path.read_text(encoding="utf-8"))
            return ClusterState(**raw)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, state: ClusterState) -> None:
        """Replaces the state in one step; readable by the owner only, as URLs may carry passwords."""
        temporary = self.state_path.with_suffix(".json.new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.state_path)

    def clear(self) -> None:
        """Removes the state."""
        self.state_path.unlink(missing_ok=True)


def make_run_dir() -> Path:
    """A fresh folder of this user with a path short enough for sockets."""
    base = SHORT_TEMP if os.access(SHORT_TEMP, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="likeness-", dir=base))


def remove_run_dir(path: str) -> None:
    """Removes a run folder, and nothing that is none."""
    if path and Path(path).name.startswith("likeness-"):
        shutil.rmtree(path, ignore_errors=True)
