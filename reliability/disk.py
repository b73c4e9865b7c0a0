"""A disk that can be full: a small file system of its own where this user may mount one, else a limit on files."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reliability.deployment import Deployment

SIZE_MIB = 4


class Disk:
    """The folder that an object store lies in. `fill` lets nothing more be written to it, `free` takes that back."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder = folder
        self._mounted = mounted

    @property
    def how(self) -> str:
        """What stands for the full disk."""
        return "a tmpfs without a free block" if self._mounted else "a limit of 0 bytes on files of the gateways"

    def fill(self, deployment: Deployment) -> None:
        """No space left."""
        if not self._mounted:
            _limit_files(deployment, 0)
            return
        # The last block, byte by byte at the end: "full" means for everybody.
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self, deployment: Deployment) -> None:
        """Space again."""
        if self._mounted:
            (self.folder / "filler").unlink()
        else:
            _limit_files(deployment, resource.RLIM_INFINITY)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk at an empty folder, for as long as the block runs."""
    options = f"size={SIZE_MIB}m,mode=777"
    command = ["mount", "-t", "tmpfs", "-o", options, "likeness-test", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield Disk(folder, mounted=mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _limit_files(deployment: Deployment, size: int) -> None:
    for gateway in deployment.gateways:
        assert gateway.process is not None
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
