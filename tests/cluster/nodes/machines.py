"""Machines of a network, as far as a kernel can divide itself: each has a network, processes, a host name and a folder
of its own, and no other way to the next than a wire to a switch.

They are Linux namespaces without names. Nothing outlives its processes, and no process outlives this one: wires end in
the switch or a machine, and go with them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from services.cluster.processes import log_tail, spawn

SWITCH = "switch"
# A machine is there when its wire is plugged in. Its shell stays: it buries what dies below it.
_WAIT_FOR_WIRE = "until ip -o -4 route show default 2>/dev/null | grep -q via; do sleep 0.05; done"
_TOOLS = ("ip", "unshare", "nsenter", "mount", "sh")
NETWORK = "198.18.{}.{}"
"""Addresses that RFC 2544 keeps for tests; the third number tells runs apart."""


def missing() -> str:
    """Why this machine cannot be divided; "" if it can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class NotDivisibleError(Exception):
    """The kernel or the container around us does not allow namespaces; the text says what failed."""


class Machine:
    """One machine. `address` is where the others find it."""

    def __init__(self, name: str, address: str, process: asyncio.subprocess.Process, pid: int) -> None:
        self.name = name
        self.address = address
        self._process = process
        self._pid = pid

    @property
    def runs(self) -> bool:
        """Whether its command has not ended."""
        return self._process.returncode is None

    def enter(self, command: Sequence[str | Path]) -> list[str | Path]:
        """The command, to be run on this machine."""
        return ["nsenter", f"--target={self._pid}", "--net", "--mount", "--pid", "--uts", "--ipc", "--", *command]

    def processes(self, title: str) -> list[int]:
        """Ids, as seen from outside, of the machine's processes whose command line has this text."""
        found = []
        for process in psutil.Process(self._pid).children(recursive=True) if self.runs else []:
            try:
                if title in " ".join(process.cmdline()):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    async def lose(self) -> None:
        """All of its processes end at once and nothing is said to anybody."""
        os.kill(self._pid, signal.SIGKILL)
        await self._process.wait()


class Network:
    """A switch, and this process's own wire to it."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._switch = 0
        self._machines: list[tuple[asyncio.subprocess.Process, int]] = []

    async def start(self) -> None:
        """Makes the switch.

        Raises:
            NotDivisibleError: not allowed here.
        """
        _, self._switch = await self._divide(SWITCH, ["sleep", "infinity"], {})
        await self._at_switch("ip", "link", "add", "br0", "type", "bridge")
        await self._at_switch("ip", "link", "set", "br0", "up")
        # This process's own end; it goes with the other one.
        end = f"lk{os.getpid()}"
        await self._plug(end, os.getpid())
        await _run("ip", "addr", "add", f"{self._address(1)}/24", "dev", end)
        await _run("ip", "link", "set", end, "up")

    async def add(self, name: str, command: Sequence[str | Path], env: Mapping[str, str]) -> Machine:
        """A machine that runs a command. `{address}` in its words is the machine's own.

        Raises:
            NotDivisibleError: not allowed here.
        """
        address = self._address(len(self._machines) + 1)
        words = [str(word).replace("{address}", address) for word in command]
        process, pid = await self._divide(name, words, env)
        await self._plug("eth0", pid)
        # The way out, which leads nowhere, is how Ray finds out which address is its own.
        way_out = ["route", "add", "default", "via", self._address(1)]
        for words in (["link", "set", "eth0", "up"], ["addr", "add", f"{address}/24", "dev", "eth0"], way_out):
            await _run("nsenter", f"--target={pid}", "--net", "ip", *words)
        return Machine(name, address, process, pid)

    async def close(self) -> None:
        """Ends everything on every machine."""
        for process, pid in reversed(self._machines):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()

    def log(self, name: str) -> list[str]:
        """The last lines that a machine's command has said."""
        return log_tail(self._folder / f"{name}.log", 40)

    def _address(self, host: int) -> str:
        return NETWORK.format(self._number, host)

    async def _divide(
        self, name: str, command: Sequence[str], env: Mapping[str, str]
    ) -> tuple[asyncio.subprocess.Process, int]:
        """Namespaces and their first process, whose id is the second answer; it waits for its wire."""
        wait = "true" if name == SWITCH else _WAIT_FOR_WIRE
        # The folder is the machine's own: what others write there is not seen.
        prepare = f'mount -t tmpfs none "$0" && hostname {name} && ip link set lo up && {wait}'
        # As a kubelet does: Ray gives a node 30 s to start, too little on a machine that is busy.
        script = f'{prepare} || exit 1; until "$@"; do kill -KILL -1 2>/dev/null; sleep 1; done'
        disk = self._folder / "disk"
        disk.mkdir(exist_ok=True)
        flags = ("--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
        process = await spawn(
            ["unshare", *flags, "--", "sh", "-c", script, disk, *command],
            log=self._folder / f"{name}.log",
            env=env or None,
            death_signal=signal.SIGKILL,
        )
        while process.returncode is None:
            children = psutil.Process(process.pid).children()
            # Before it has made its namespaces it still is in ours.
            if children and _namespaces(children[0].pid) != _namespaces(os.getpid()):
                self._machines.append((process, children[0].pid))
                return self._machines[-1]
            await asyncio.sleep(0.01)
        raise NotDivisibleError("; ".join(self.log(name)))

    async def _plug(self, end: str, pid: int) -> None:
        port = f"p{len(self._machines)}"
        await self._at_switch("ip", "link", "add", port, "type", "veth", "peer", "name", end, "netns", str(pid))
        await self._at_switch("ip", "link", "set", port, "master", "br0", "up")

    async def _at_switch(self, *command: str) -> None:
        await _run("nsenter", f"--target={self._switch}", "--net", *command)


@asynccontextmanager
async def network(folder: Path) -> AsyncIterator[Network]:
    """A switch without machines; all that are added end with the block."""
    # Runs at the same time have process ids of their own.
    made = Network(folder, os.getpid() % 256)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


def _namespaces(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise NotDivisibleError(f"{' '.join(command)}: {said.decode().strip()}")
