"""Checks that need the machine of the gateway (its settings, disk and stores), and those of Kubernetes manifests.

They belong to the services, which are no dependency of this package: where these are installed, a process of theirs
does the checks and tells the findings in JSON lines.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator

from likeness.doctor.findings import Finding, from_line, problem
from likeness.doctor.reaching import split

TIMEOUT_SECONDS = 120.0
_HOST = "services.doctor"
_MANIFESTS = "services.doctor.manifests"
_INSTALL = 'Install the services whole: pip install "likeness[server]".'


def is_this_host(address: str) -> bool:
    """Whether the services are installed here, and the gateway's stores are named by settings or it runs here."""
    if importlib.util.find_spec("services") is None:
        return False
    place = split(address)
    return "LIKENESS_DATABASE_URL" in os.environ or (place is not None and _is_loopback(place[0]))


def examine_host() -> Iterator[Finding]:
    """What the services find on this machine, under the settings of this environment."""
    yield from _asked(_HOST, "host", "the checks of this machine")


def examine_manifests(folder: str) -> Iterator[Finding]:
    """What is wrong with the Kubernetes manifests in a folder, a kustomize overlay or a file. Nothing of a cluster is
    asked."""
    if importlib.util.find_spec("services") is None:
        yield problem("manifests", "the checks of manifests are not installed here", _INSTALL)
        return
    yield from _asked(_MANIFESTS, "manifests", "the checks of the manifests", folder)


def _asked(module: str, check: str, what: str, *arguments: str) -> Iterator[Finding]:
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        yield problem(check, f"{what} took over {TIMEOUT_SECONDS:.0f} s", "A disk may hang.")
        return
    yield from (finding for line in done.stdout.splitlines() if (finding := from_line(line)))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        yield problem(check, f"{what} broke off: {lines[-1]}", _INSTALL)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
