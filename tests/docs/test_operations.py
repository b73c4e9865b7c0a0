"""The pages for operators name alerts, settings, reasons, metrics and modules that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.errors import Reason
from services.common.profile import ROOT, load_profile
from services.common.settings import Settings
from services.doctor.settings import unknown_names

ENTRY = ROOT / "docs/operations.md"
PAGES = [ENTRY, *sorted((ROOT / "docs/operations").glob("*.md"))]
RULES = sorted((ROOT / "deploy/monitoring/rules").glob("*.rules.yaml"))
NO_REASONS = {
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "TRANSFORMERS_OFFLINE",
    "BACKUP_PLACE",
    "BACKUP_KEEP",
    "PG_VERSION",
    "NOT_SERVING",
}
"""Names in capitals that are neither settings of ours nor reasons."""


def alerts() -> list[dict[str, Any]]:
    """Every alert of the rules."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def sections() -> list[str]:
    """Alerts that the runbook has a section of."""
    text = ENTRY.read_text(encoding="utf-8").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (\w+)$", text, re.MULTILINE)


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    names = [one["alert"] for one in alerts()]
    assert len(names) > 10 and sections() == list(dict.fromkeys(names))


def test_alerts_link_to_their_sections() -> None:
    for one in alerts():
        link = one["annotations"]["runbook_url"]
        assert link.endswith(f"docs/operations.md#{one['alert'].lower()}"), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_settings_and_reasons_exist(path: Path) -> None:
    names = set(re.findall(r"(?<![\w.$-])[A-Z]+(?:_[A-Z]+)+\b(?!_?\w*[a-z])", path.read_text(encoding="utf-8")))
    settings = {one for one in names if one.startswith("LIKENESS_")}
    assert [one.message for one in unknown_names(dict.fromkeys(settings, ""))] == []
    rest = names - settings - NO_REASONS - {one.value for one in Reason}
    # Statuses of gRPC beside the reasons.
    assert rest <= {"RESOURCE_EXHAUSTED", "NOT_FOUND"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_metrics_and_modules_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = "".join(one.read_text(encoding="utf-8") for one in [*RULES, *(ROOT / "services").rglob("*.py")])
    assert [one for one in re.findall(r"\blikeness[_:][a-z]\w*_[\w:]+", text) if one not in known] == []
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module) is not None, module


def test_the_profile_of_the_page_on_folders_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "local.yaml"
    path.write_text(shown_profile())
    profile = load_profile(str(path))
    assert profile.generators[0].source == "/srv/models/my-generator" and not profile.generators[0].embedded
    assert "models_dir" in Settings.model_fields


def shown_profile() -> str:
    """The profile that docs/operations/air-gapped.md shows."""
    page = (ROOT / "docs/operations/air-gapped.md").read_text(encoding="utf-8")
    found = re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]
