"""An embedded cluster for the length of a benchmark."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def embedded_cluster() -> Iterator[str]:
    """Starts the cluster in a folder of its own, yields the gateway's address, stops everything."""
    with tempfile.TemporaryDirectory(prefix="lk-") as home:
        command = [sys.executable, "-m", "services.cluster.up", "--home", home, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                said = []
                for line in process.stdout:
                    event = json.loads(line)
                    said.append(line)
                    if event.get("event") == "ready":
                        yield str(event["address"])
                        break
                else:
                    raise RuntimeError("the embedded cluster did not start:\n" + "".join(said))
            finally:
                process.terminate()
                process.wait(timeout=60)
