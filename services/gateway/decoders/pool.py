"""A few worker processes, each with one picture at a time."""

from __future__ import annotations

import queue
from contextlib import suppress

from services.common.errors import ImageError, Reason, UnavailableError
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.messages import Facts, Refusal
from services.gateway.decoders.process import DecoderProcess

TRIES = 2
"""A worker may die of something else than its picture, or lack memory that earlier ones left in pieces."""


class DecoderPool:
    """Decodes pictures in processes that start when they are first needed. Used by any number of threads.

    Args:
        size: Most processes, and so most pictures at the same time; further ones wait.
        limits: What one picture may take.
    """

    def __init__(self, size: int, limits: DecodeLimits | None = None) -> None:
        self._limits = limits or DecodeLimits()
        self._closed = False
        self._all = [DecoderProcess(self._limits) for _ in range(size)]
        # The one used last first, so that those started for a rush that is over are left alone.
        self._free: queue.LifoQueue[DecoderProcess] = queue.LifoQueue()
        for one in reversed(self._all):
            self._free.put(one)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that were started."""
        return [one.pid for one in self._all if one.pid is not None]

    def start(self) -> None:
        """Starts one process, so that the first picture need not wait for it. Raises UnavailableError."""
        self._closed = False
        worker = self._free.get()
        try:
            worker.start()
        finally:
            self._free.put(worker)

    def describe(self, data: bytes) -> Facts:
        """What a picture is; waits for a free process.

        Raises:
            ImageError: it cannot be taken; IMAGE_TOO_COSTLY if decoding it goes over a limit or ends its process.
            UnavailableError: there is no process, or the pool is closed.
        """
        worker = self._free.get()
        try:
            answer = self._ask(worker, data)
        finally:
            self._free.put(worker)
        if isinstance(answer, Refusal):
            raise ImageError(answer.reason, answer.problem, allowed=answer.allowed)
        return answer

    def close(self) -> None:
        """Ends the processes and with them what is under way. `start` opens the pool again."""
        self._closed = True
        for one in self._all:
            one.kill()
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for one in idle:
            one.close()
            self._free.put(one)

    def _ask(self, worker: DecoderProcess, data: bytes) -> Facts | Refusal:
        with suppress(TimeoutError):
            for _ in range(TRIES):
                if self._closed:
                    raise UnavailableError(Reason.BACKEND_UNAVAILABLE, "the gateway is stopping", retry_after_seconds=1)
                answer = worker.ask(data)
                if answer is not None:
                    return answer
        problem = "decoding it takes more time or memory than a picture may"
        return Refusal(Reason.IMAGE_TOO_COSTLY, problem, str(self._limits))
