"""Where a command's answer goes: tables for people on stdout, JSON lines with --json, errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from likeness import LikenessError, to_dict

_PIPE_WIDTH = 160
"""Columns when nobody looks: wide enough that a pipe gets whole lines."""


class Output:
    """The two streams of a command.

    Attributes:
        json: Whether stdout carries JSON, one value a line.
        console: stdout for people.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.json = as_json
        self.console = _console(stderr=False)
        self._errors = _console(stderr=True)

    @property
    def notes(self) -> Console:
        """Where remarks go that are no part of the answer."""
        return self._errors if self.json else self.console

    def value(self, value: Any) -> None:
        """One JSON line."""
        sys.stdout.write(json.dumps(to_dict(value), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def say(self, text: str | Text = "") -> None:
        """A line for people; lost with --json."""
        if not self.json:
            self.console.print(text, highlight=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
        """Aligned columns. A heading that starts with ">" is aligned to the right."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def error(self, error: Exception, advice: str = "") -> None:
        """One line on stderr, with the reason and the field where there are any."""
        body = _describe(error)
        if self.json:
            sys.stderr.write(json.dumps({"error": body | ({"advice": advice} if advice else {})}) + "\n")
            return
        marks = [str(body["reason"]), f"field {body['field']}" if body.get("field") else ""]
        line = Text.assemble(("error: ", "bold red"), str(body["message"]))
        if any(marks):
            line.append(f" ({', '.join(mark for mark in marks if mark)})", style="dim")
        self._errors.print(line, soft_wrap=True)
        if advice:
            self._errors.print(Text(advice), soft_wrap=True)


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, LikenessError):
        body = {"code": error.code, "reason": error.reason, "message": error.message, "field": error.field}
        return body | {"request_id": error.request_id, "retry_after_seconds": error.retry_after_seconds}
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return {"code": "", "reason": "", "message": message}
    return {"code": "", "reason": "", "message": str(error)}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a reader that went away (`| head`) to `main`, where rich would end the process with code 1."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console
