"""A worker process: decodes pictures one by one, under limits that the kernel enforces.

    python -m services.gateway.decoders.worker CPU_SECONDS MEMORY_BYTES

Its standard input is a socket to the gateway. It ends when the gateway is gone.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys

from services.common import images
from services.common.errors import ImageError
from services.gateway.decoders.messages import READY, Facts, Refusal, receive, send, to_bytes


def main() -> None:
    """Answers until the gateway closes the connection."""
    cpu_seconds, memory_bytes = map(int, sys.argv[1:])
    # Ctrl-C in a terminal reaches the whole group; the gateway still decodes while it drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # Decoding writes no file, and a core would hold somebody's picture.
    for never in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(never, (0, 0))
    with socket.socket(fileno=0) as gateway:
        try:
            send(gateway, READY)
            while True:
                data = bytes(receive(gateway, images.MAX_BYTES))
                _allow(cpu_seconds)
                send(gateway, to_bytes(_describe(data)))
        except (EOFError, OSError):
            return


def _allow(cpu_seconds: int) -> None:
    """Sets the processor time of this process to what it has used and `cpu_seconds` more; SIGXCPU ends it then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds, hard))


def _describe(data: bytes) -> Facts | Refusal:
    try:
        decoded = images.decode(data)
    except ImageError as error:
        return Refusal(error.reason, error.problem, error.allowed)
    return Facts(decoded.pixel_hash, decoded.media_type, decoded.width, decoded.height)


if __name__ == "__main__":
    main()
