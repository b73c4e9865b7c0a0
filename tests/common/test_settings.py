"""Settings: from the environment, checked, frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.settings import Settings


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME_", "PROFILE", "GATEWAY_PORT", "DATABASE_URL"):
        monkeypatch.delenv(f"LIKENESS_{name}", raising=False)
    settings = Settings()
    assert (settings.profile, settings.gateway_port, settings.database_url) == ("embedded", 7400, None)


def test_the_environment_is_read_with_types(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    monkeypatch.setenv("LIKENESS_GATEWAY_PORT", "0")
    monkeypatch.setenv("LIKENESS_REFLECTION", "false")
    settings = Settings()
    assert (settings.home, settings.gateway_port, settings.reflection) == (tmp_path, 0, False)


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_PROFILE", "sd15")
    assert Settings(profile="embedded").profile == "embedded"


@pytest.mark.parametrize(
    ("name", "value"),
    [("GATEWAY_PORT", "70000"), ("GATEWAY_PORT", "x"), ("REQUEST_TIMEOUT_SECONDS", "0"), ("TORCH_THREADS", "-1")],
)
def test_impossible_values_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LIKENESS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_errors_show_no_keys() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(llm_api_key="very secret", generator_min_replicas=2)
    assert "very secret" not in str(refused.value)


def test_settings_cannot_change() -> None:
    with pytest.raises(ValidationError):
        Settings().profile = "sd15"  # type: ignore[misc]
