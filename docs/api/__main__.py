"""`python -m docs.api` writes docs/api.md; with --check it only says whether the page is out of date (exit code 1)."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from docs.api.contracts import ContractError, read_contracts
from docs.api.page import render

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "api.md"
EXAMPLES = DOCS / "examples" / "api"


def examples(folder: Path = EXAMPLES) -> dict[str, str]:
    """Code by "Service.Method": session_service/create_session.py is that of SessionService.CreateSession."""
    return {
        f"{_camel(path.parent.name)}.{_camel(path.stem)}": path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*/*.py"))
    }


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.api", description="Writes docs/api.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    options = parser.parse_args()
    try:
        page = render(read_contracts(), examples())
    except ContractError as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        print("docs/api.md is out of date: run 'python -m docs.api'", file=sys.stderr)
        return 1
    return 0


def _camel(name: str) -> str:
    return re.sub(r"(?:^|_)([a-z0-9])", lambda letter: letter[1].upper(), name)


if __name__ == "__main__":
    sys.exit(main())
