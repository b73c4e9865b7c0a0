"""The rules as Prometheus' own tool reads and tests them, and what can be said of them without it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.__main__ import FOLDER, RULES, made

TESTS = RULES.with_name("likeness.test.yaml")
ROOT = FOLDER.parents[1]
ALERTS = [
    rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.timeout(300)
def test_promtool_takes_the_rules_and_every_alert_fires_when_it_should() -> None:
    promtool("check", "rules", "--lint-fatal", RULES)
    promtool("test", "rules", TESTS)


@needs_promtool
def test_promtool_takes_the_configuration_for_one_host() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


@needs_promtool
def test_promtool_takes_every_query_of_the_dashboards(tmp_path: Path) -> None:
    from deploy.monitoring.boards import DASHBOARDS

    queries = [query.promql for dashboard in DASHBOARDS for query in dashboard.queries()]
    rules = [
        {"record": f"panel:{number}", "expr": one.replace("$__rate_interval", "1m").replace("$namespace", ".*")}
        for number, one in enumerate(queries)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", file)


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    fired = {
        name
        for test in tests
        for one in test["promql_expr_test"]
        for sample in one["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {one["alert"] for one in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one["alert"])
def test_an_alert_says_what_is_wrong_and_where_its_runbook_is(alert: dict) -> None:
    assert alert["alert"].startswith("Likeness")
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert anchor == alert["alert"].lower()
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    assert anchor in anchors, f"{page} has no section {alert['alert']}"


@pytest.mark.parametrize("path", list(made()), ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == made()[path], "run: python -m deploy.monitoring"
