"""Readers that end, processes that read Parquet first, and disks that are at fault instead of the manifest."""

from __future__ import annotations

import asyncio
import errno
import io
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.gateway.evaluations.manifests import Format, ManifestFile, inspection, read_manifest
from tests.gateway.evaluations.reading import table


async def parquet_file(data: bytes) -> int:
    """Items of a Parquet file as a job counts them."""
    with ManifestFile(None) as file:
        await file.append(data)
        return await file.count()


@pytest.mark.integration
async def test_parquet_is_read_by_another_process_first() -> None:
    # This ends whoever reads it with pyarrow 26: it meets a C++ exception that it does not expect.
    damaged = bytearray(table([{"item_id": "a", "image": b"x"}] * 3))
    damaged[166] = 45
    with suppress(InvalidInputError):
        await parquet_file(bytes(damaged))
    data = table([{"item_id": str(n), "image": bytes([n % 7]) * 3000} for n in range(9)])
    assert await parquet_file(data) == 9
    with pytest.raises(InvalidInputError, match="is not readable as Parquet") as caught:
        await parquet_file(data[:50] + b"\xff" * 50 + data[100:])
    assert (caught.value.field, caught.value.reason) == ("manifest", Reason.MANIFEST_UNREADABLE)


@pytest.mark.parametrize(
    ("does", "expected", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGABRT)", InvalidInputError, "its reader ends with SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", InvalidInputError, "its reader ends with SIGKILL"),
        ("sys.exit(os.EX_IOERR)", UnavailableError, "disk cannot be read"),
        ("sys.exit(1)", RuntimeError, "failed with 1"),
    ],
)
async def test_a_file_that_ends_its_reader_does_not_end_the_gateway(
    monkeypatch: pytest.MonkeyPatch, does: str, expected: type[Exception], said: str
) -> None:
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", f"import os, signal, sys; {does}"))
    with pytest.raises(expected, match=said):
        await parquet_file(table([{"item_id": "a"}]))


async def test_a_reader_that_is_ended_by_something_else_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    once = f"import os, signal, pathlib; p = pathlib.Path({str(tmp_path / 'once')!r}); "
    once += "p.exists() or (p.touch(), os.kill(os.getpid(), signal.SIGKILL))"
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", once))
    assert await parquet_file(table([{"item_id": "a"}])) == 1


async def test_cancelling_ends_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(inspection.subprocess, "Popen", start)
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    counting = asyncio.create_task(parquet_file(table([{"item_id": "a"}])))
    while not started:
        await asyncio.sleep(0.01)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    assert await asyncio.to_thread(started[0].wait) == -signal.SIGKILL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_disk_that_is_full_is_not_the_manifests_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w+b")  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(UnavailableError) as caught, ManifestFile(None) as file:
        await file.append(b"x")
    assert caught.value.reason is Reason.OBJECT_STORE_UNAVAILABLE and "disk" in caught.value.message


async def test_a_disk_without_room_for_a_file_is_not_the_manifests_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(UnavailableError):
        ManifestFile(None).__enter__()


@pytest.mark.parametrize("format_", list(Format))
def test_a_disk_that_cannot_be_read_is_not_the_manifests_fault(format_: Format) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        readline = read

    with pytest.raises(OSError, match="Input/output"):
        list(read_manifest(Broken(table([{"item_id": "a"}])), format_))
