"""Settings of a host that cannot be read, mean nothing, or contradict each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from likeness.doctor.findings import Finding
from services.common.profile import ROOT
from services.common.settings import Settings
from services.doctor.settings import contradictions, profile, read_settings, unknown_names

Diagnose = Callable[..., list[Finding]]


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Diagnose:
    """What is found under settings given by the names of their variables."""

    def diagnosed(**settings: object) -> list[Finding]:
        for name, value in {"home": tmp_path, **settings}.items():
            monkeypatch.setenv(f"LIKENESS_{name.upper()}", str(value))
        found = read_settings()
        return list(contradictions(found)) if isinstance(found, Settings) else found

    return diagnosed


def test_settings_that_go_together(diagnose: Diagnose) -> None:
    (found,) = diagnose()
    assert found.state == "ok"


@pytest.mark.parametrize(
    ("settings", "state", "said"),
    [
        ({"gateway_port": 7401}, "problem", "LIKENESS_GATEWAY_PORT and LIKENESS_HTTP_PORT are both 7401"),
        ({"database_url": "postgres://secret@db/likeness"}, "problem", "does not begin with postgresql+asyncpg:"),
        ({"redis_url": "http://cache"}, "problem", "LIKENESS_REDIS_URL does not begin with redis:"),
        ({"object_store_url": "/pictures"}, "problem", "LIKENESS_OBJECT_STORE_URL does not begin with file: or s3:"),
        ({"llm_base_url": "http://model"}, "problem", "LIKENESS_LLM_MODEL is not"),
        ({"llm_model": "large"}, "warning", "neither is used"),
        ({"models_dir": "/no/such/folder"}, "problem", "LIKENESS_MODELS_DIR names a folder that does not exist"),
        ({"gateway_port": "many"}, "problem", "LIKENESS_GATEWAY_PORT"),
        ({"generator_max_replicas": 3}, "problem", "generator_target_ongoing_requests must be set"),
        ({"gateway_host": "0.0.0.0"}, "problem", "others can read along"),
        ({"tls_key": "/some/key.pem"}, "problem", "LIKENESS_TLS_CERTIFICATE"),
        ({"gateway_host": "0.0.0.0", "allow_plaintext": True, "require_keys": False}, "warning", "anybody"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not(diagnose: Diagnose, settings: dict[str, object], state: str, said: str) -> None:
    (found,) = diagnose(**settings)
    assert found.state == state and said in found.message and found.advice
    assert "secret" not in found.message


def test_a_misspelled_name_is_found() -> None:
    (found,) = unknown_names({"LIKENESS_REDIS_ULR": "x", "LIKENESS_HOME": "/", "PATH": "/"})
    assert "LIKENESS_REDIS_ULR" in found.message and found.advice == "Did you mean LIKENESS_REDIS_URL?"
    (found,) = unknown_names({"LIKENESS_XYZ_QQQ": "x"})
    assert "Remove it" in found.advice


def test_every_variable_that_the_code_reads_is_known() -> None:
    sources = [path for folder in ("likeness", "services") for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r'"(LIKENESS_[A-Z_]+)"', path.read_text())}
    assert "LIKENESS_ADDRESS" in named
    assert list(unknown_names(dict.fromkeys(named, "x"))) == []


def test_a_profile_that_does_not_exist(tmp_path: Path) -> None:
    (found,) = profile(Settings(profile="no-such-profile", home=tmp_path))
    assert found.state == "problem" and "no-such-profile" in found.message and "LIKENESS_PROFILE" in found.advice


def test_a_profile_that_needs_a_language_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (ROOT / "profiles" / "embedded.yaml").read_text()
    path.write_text(re.sub(r"strategy: \w+", "strategy: llm", text))
    found = list(profile(Settings(profile=str(path), home=tmp_path)))[-1]
    assert found.state == "problem" and "llm strategy" in found.message
    assert all(one.state == "ok" for one in profile(Settings(profile="embedded", home=tmp_path)))
