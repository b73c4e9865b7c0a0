"""Writes what is made of rules/ and boards.py: `python -m deploy.monitoring`. With --check it only compares."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring.boards import DASHBOARDS

FOLDER = Path(__file__).parent
RULES = FOLDER / "rules" / "likeness.rules.yaml"
_MADE = "# Made of rules/likeness.rules.yaml by `python -m deploy.monitoring`; change it there.\n"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file would change")
    check = parser.parse_args(arguments).check
    stale = [path for path, text in made().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(FOLDER)} {'is not up to date' if check else 'written'}")
        if not check:
            path.write_text(made()[path], encoding="utf-8")
    return int(check and bool(stale))


def made() -> dict[Path, str]:
    """Text of every generated file."""
    dashboards = {FOLDER / "dashboards" / f"{one.uid}.json": one.as_json() for one in DASHBOARDS}
    rules = yaml.safe_dump(prometheus_rule(), sort_keys=False, width=120, allow_unicode=True)
    texts = {path: json.dumps(content, indent=1) + "\n" for path, content in dashboards.items()}
    return {**texts, FOLDER / "prometheusrule.yaml": _MADE + rules}


def prometheus_rule() -> dict[str, Any]:
    """The rules as an object for the Prometheus Operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "likeness", "labels": {"app.kubernetes.io/part-of": "likeness"}},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    sys.exit(main())
