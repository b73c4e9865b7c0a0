"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys
import types

import likeness


def test_all_is_sorted_and_complete() -> None:
    public = {
        name
        for name, value in vars(likeness).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(likeness.__all__) == public
    constants = [name for name in likeness.__all__ if name.isupper()]
    classes = [name for name in likeness.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in likeness.__all__ if name[0].islower()]
    assert likeness.__all__ == sorted(constants) + sorted(classes) + sorted(functions)


def test_every_public_name_is_documented() -> None:
    undocumented = [
        name
        for name in likeness.__all__
        if isinstance(getattr(likeness, name), type) and not (getattr(likeness, name).__doc__ or "").strip()
    ]
    assert undocumented == []


def test_the_client_is_light() -> None:
    heavy = "torch ray numpy sqlalchemy redis services world diffusers pydantic jinja2"
    code = f"import sys, likeness, likeness.cli.main; print([m for m in {heavy!r}.split() if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
