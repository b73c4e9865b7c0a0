"""Code in the documents is real: Python blocks compile and use names that exist, commands parse."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import likeness
from likeness.cli.main import build_parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_compile_and_import_real_names(path: Path) -> None:
    for block in blocks(path, "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "likeness":
                assert {name.name for name in node.names} <= set(likeness.__all__)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_parse(path: Path) -> None:
    for block in blocks(path, "console"):
        for line in block.splitlines():
            if line.startswith("$ likeness "):
                build_parser().parse_args(shlex.split(line.removeprefix("$ likeness ").partition(" | ")[0]))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_readme_shows_code() -> None:
    assert blocks(ROOT / "README.md", "python") and blocks(ROOT / "README.md", "console")
