"""Has a manifest read to its end by a process that may die of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import BinaryIO

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.gateway.decoders.process import INHERITED
from services.gateway.evaluations.manifests.reading import Format
from services.gateway.evaluations.manifests.rows import unreadable

TRIES = 2
"""A process may be ended by something else than its file."""
_COMMAND = (sys.executable, "-m", "services.gateway.evaluations.manifests.inspector")


async def inspect(file: BinaryIO, format_: Format) -> None:
    """Returns if a file can be read to its end. Cancelling it ends the process.

    Raises:
        InvalidInputError: MANIFEST_UNREADABLE, as `read_manifest`, or reading the file ends processes.
        UnavailableError: there is no process, or the disk cannot be read.
    """
    for _ in range(TRIES):
        status, problem = await _read_apart(file, format_)
        if status >= 0:
            break
    else:
        ended = f"is not readable as {format_.value} (its reader ends with {signal.Signals(-status).name})"
        raise unreadable(ended, "a whole file that its usual readers read")
    if status == os.EX_IOERR:
        raise _unavailable("this gateway's disk cannot be read")
    if status:
        raise RuntimeError(f"the process that reads manifests failed with {status}")
    if problem:
        raise InvalidInputError("manifest", problem.removeprefix("manifest: "), reason=Reason.MANIFEST_UNREADABLE)


async def _read_apart(file: BinaryIO, format_: Format) -> tuple[int, str]:
    """How a process ended that read the file, and what it said."""
    file.seek(0)
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        process = subprocess.Popen(
            [*_COMMAND, format_.value], stdin=file, stdout=subprocess.PIPE, env=environment, text=True
        )
    except OSError as error:
        raise _unavailable("no process to read manifests can be started") from error
    reading = asyncio.create_task(asyncio.to_thread(process.communicate))
    try:
        said, _ = await asyncio.shield(reading)
    except asyncio.CancelledError:
        process.kill()
        await reading
        raise
    return process.returncode, said.strip()


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0)
