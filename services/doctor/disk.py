"""Room and rights where the services write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from likeness.doctor.findings import Finding, ok, problem, warning
from services.common.settings import MEBIBYTE, Settings

LOW_MIB = 1024
FULL_MIB = 64
"""Below this, PostgreSQL and uploads fail at any moment."""


def disk(settings: Settings) -> Iterator[Finding]:
    """The folder of stores, pictures and logs."""
    home = settings.home.expanduser()
    folder = next(one for one in (home, *home.absolute().parents) if one.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        advice = "Give this user the right to write there, or set LIKENESS_HOME to another folder."
        yield problem("disk", f"LIKENESS_HOME ({home}) cannot be written to", advice)
        return
    yield room(home, folder)


def room(home: Path, folder: Path) -> Finding:
    """How much is free where the home is, or will be."""
    free = shutil.disk_usage(folder).free // MEBIBYTE
    advice = "Make room, or set LIKENESS_HOME to a folder on a larger disk."
    if free < FULL_MIB:
        return problem("disk", f"{free} MiB are free at LIKENESS_HOME ({home}): stores will fail", advice)
    if free < LOW_MIB:
        return warning("disk", f"only {free} MiB are free at LIKENESS_HOME ({home})", advice)
    return ok("disk", f"{free / 1024:.0f} GiB are free at LIKENESS_HOME ({home})")
