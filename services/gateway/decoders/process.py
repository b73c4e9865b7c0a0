"""The gateway's side of one worker process: starts it when it is needed, and again after it died."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from services.common.errors import Reason, UnavailableError
from services.common.telemetry import counter, get_logger
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.messages import MAX_ANSWER_BYTES, READY, Facts, Refusal, from_bytes, receive, send

START_SECONDS = 60.0
"""A busy machine takes its time to start Python."""
_BUFFER_BYTES = 1024 * 1024
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
"""Of the environment, which holds addresses and keys, a worker gets no more than it needs to start."""

log = get_logger(__name__)
_ended = counter("likeness_gateway_decoders_ended", "Workers that ended while they decoded a picture.", ("cause",))


class DecoderProcess:
    """One worker. Used by one thread at a time."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id, or None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the process unless it lives.

        Raises:
            UnavailableError: it cannot be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        limits = self._limits
        command = [sys.executable, "-m", "services.gateway.decoders.worker"]
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*command, str(limits.cpu_seconds), str(limits.memory_bytes)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    # Each thread of numpy's linear algebra would claim address space.
                    env=environment | {"OPENBLAS_NUM_THREADS": "1"},
                )
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            ours.settimeout(START_SECONDS)
            self._connection = ours
            if receive(ours, len(READY)) != READY:
                raise ValueError("the worker says something else")
        except (OSError, EOFError, ValueError) as error:
            ours.close()
            self.close()
            message = "no process to decode pictures can be started"
            raise UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0) from error

    def ask(self, data: bytes) -> Facts | Refusal | None:
        """What a picture is, or why it cannot be taken; None if a fresh process may have another answer.

        Raises:
            TimeoutError: the picture used up its time.
            UnavailableError: the process cannot be started.
        """
        self.start()
        assert self._connection is not None
        try:
            self._connection.settimeout(self._limits.wall_seconds)
            send(self._connection, data)
            answer = from_bytes(receive(self._connection, MAX_ANSWER_BYTES))
        except TimeoutError:
            self._end("time")
            raise
        except (OSError, EOFError, ValueError) as error:
            if self._exit_status() == -signal.SIGXCPU:
                self._end("time")
                raise TimeoutError from error
            self._end("death")
            return None
        if isinstance(answer, Refusal) and answer.reason is Reason.IMAGE_TOO_COSTLY:
            self._end("memory")
            return None
        return answer

    def kill(self) -> None:
        """Ends the process, from any thread, also while another one asks."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _exit_status(self) -> int | None:
        """Of a process whose connection broke; None if it lives on."""
        assert self._process is not None
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return None

    def _end(self, cause: str) -> None:
        _ended.labels(cause).inc()
        log.warning("decoder_ended", cause=cause, pid=self.pid)
        self.close()

    def close(self) -> None:
        """Ends the process and the connection to it; `ask` starts another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.kill()
        self._process = None
