"""A process that reads a manifest to its end before the gateway does, and may die of it as pyarrow's reader can.

    python -m services.gateway.evaluations.manifests.inspector FORMAT

Its standard input is the file. It prints why the file cannot be read as a whole, or nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from services.common.errors import InvalidInputError
from services.common.settings import MEBIBYTE
from services.gateway.evaluations.manifests.reading import Format, read_manifest

MEMORY_BYTES = 4096 * MEBIBYTE
"""Address space, libraries included: sizes that a file says of itself may be lies."""


def main() -> None:
    """Reads standard input."""
    # The gateway decides when to stop, also where Ctrl-C in a terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # A core would hold somebody's items.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(0, "rb") as file:
        try:
            for _ in read_manifest(file, Format(sys.argv[1])):
                pass
        except InvalidInputError as error:
            print(error.message)
        except OSError:
            # The disk's, and not the file's.
            sys.exit(os.EX_IOERR)


if __name__ == "__main__":
    main()
