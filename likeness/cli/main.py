"""Entry point of `likeness`: parses, runs a command, turns failures into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from likeness import LikenessError, __version__
from likeness._errors import GATEWAY_UNREACHABLE
from likeness.cli.arguments import UsageError
from likeness.cli.cluster import ClusterError
from likeness.cli.commands import (
    backup,
    catalog,
    demo,
    doctor,
    evaluate,
    generate,
    keys,
    profile,
    race,
    regenerate,
    score,
    session,
    status,
    up,
    watch,
)
from likeness.cli.output import Output

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    args = build_parser().parse_args(argv)
    output = Output(as_json=args.json)
    try:
        with _orderly_termination():
            return int(args.run(args, output))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader left (`| head`): no error, but Python must not complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except UsageError as error:
        output.error(error)
        return WRONG_USAGE
    except ClusterError as error:
        output.error(error, error.advice)
    except LikenessError as error:
        output.error(error, _advice(error))
    except OSError as error:
        output.error(error)
    return FAILED


@contextmanager
def _orderly_termination() -> Iterator[None]:
    """Lets SIGTERM unwind the command as Ctrl-C does: loops are cancelled and clusters stopped, then exit code 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _advice(error: LikenessError) -> str:
    if error.reason == GATEWAY_UNREACHABLE:
        return "Start a cluster with `likeness up`, or say where one is with --address or LIKENESS_ADDRESS."
    if error.reason == "KEY_MISSING":
        return "Set LIKENESS_API_KEY to a key; whoever runs the gateway makes one with `likeness keys create`."
    if error.reason.endswith("_UNAVAILABLE"):
        return "See which part is missing with `likeness status`."
    if error.code == "INTERNAL" and error.request_id:
        return f"The server's log has more under request id {error.request_id}."
    return ""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="likeness",
        description="Regenerates images: from a target picture to the prompt and picture that match it.",
    )
    parser.add_argument("--version", action="version", version=f"likeness {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (
        demo,
        up,
        status,
        doctor,
        regenerate,
        race,
        evaluate,
        generate,
        score,
        session,
        profile,
        watch,
        catalog,
        keys,
        backup,
    ):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
