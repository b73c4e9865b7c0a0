"""Runs the `console` examples of README.md and writes what they print: `python docs/refresh_examples.py`.

Needs a running cluster with LPIPS weights (`likeness up --detach`), without a profile `anna`, and no folder `out/`.
Session ids change from run to run: the id that `session new` prints replaces the one in the commands that follow it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(^```console\n)(.*?)(^```)", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Rewrites the blocks one after the other."""
    session = ""

    def refresh(block: re.Match[str]) -> str:
        nonlocal session
        shown = []
        for command in re.findall(r"^\$ (.*)$", block[2], re.MULTILINE):
            known = re.match(r"(likeness (?:session (?:submit|feedback|rank|show)|watch) )(\S+)(.*)", command)
            if known and session:
                command = f"{known[1]}{session}{known[3]}"
            command = re.sub(r"--session \S+", f"--session {session}", command) if session else command
            answer = run(command)
            if command.startswith("likeness session new"):
                session = answer.split()[0]
            shown.append(f"$ {command}\n{answer}")
        return block[1] + "\n".join(shown) + block[3]

    README.write_text(BLOCK.sub(refresh, README.read_text(encoding="utf-8")), encoding="utf-8")


def run(command: str) -> str:
    """What a command prints, without trailing spaces."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        command, shell=True, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SystemExit(f"$ {command}\n{answer.stdout}{answer.stderr}")
    return "\n".join(line.rstrip() for line in answer.stdout.splitlines()) + "\n"


if __name__ == "__main__":
    main()
