"""Backups are made and brought back by the services' own code, where the database and the pictures are."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from likeness._errors import LikenessError
from likeness.cli.cluster import ClusterError

_MODULE = "services.backup"
_INSTALL_ADVICE = 'Install the services with `pip install "likeness[server]"`, and run this where they are.'
_ADVICE = {
    "DATABASE_IN_USE": "A restore changes what gateways have in memory: stop them (`likeness down`, or scale to 0).",
    "BACKUP_DAMAGED": "Take an earlier one: `likeness backup list` shows them, `likeness backup verify` reads one.",
    "DATABASE_TOO_NEW": "Use the release that upgraded the database, or a newer one.",
}


def run_backup(*arguments: str) -> Iterator[dict[str, Any]]:
    """What `services.backup` says, one value a line; the last is {"kind": "end", "status"}, its exit status.

    Raises:
        ClusterError: The services are not installed here, or it broke off.
        LikenessError: It was refused or failed; reason and field say why.
    """
    if importlib.util.find_spec("services") is None:
        raise ClusterError("the services are not installed", _INSTALL_ADVICE)
    command = [sys.executable, "-m", _MODULE, *arguments]
    # Into a file: it may say something of every damaged object, and a full pipe would stop it.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        ended = False
        try:
            for line in process.stdout:
                said = _parse(line)
                if said.get("kind") == "error":
                    raise _error(said)
                ended = ended or said.get("kind") == "end"
                if said:
                    yield said
            process.wait()
        finally:
            # Ctrl-C, SIGTERM: an interrupted backup is none, an interrupted restore has changed no row.
            process.terminate()
        if not ended:
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            raise ClusterError(f"it broke off: {last or process.returncode}")


def _parse(line: str) -> dict[str, Any]:
    """A value; anything else that a library may print is none."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and "kind" in said else {}


def _error(said: dict[str, Any]) -> Exception:
    reason, message = str(said["reason"]), str(said["message"])
    if reason in _ADVICE:
        return ClusterError(f"{message} ({reason})", _ADVICE[reason])
    return LikenessError(message, reason=reason, field=str(said["field"]))
