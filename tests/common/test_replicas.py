"""Numbers of replicas: fixed or following the load, for each backend; contradictions are refused by name."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from services.common.replicas import Backend
from services.common.settings import Settings

BACKENDS: tuple[Backend, ...] = ("generator", "scorer", "refiner")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_set_leaves_the_number_to_serve(backend: Backend) -> None:
    assert Settings().replica_options(backend) == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_has_settings_of_its_own(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LIKENESS_{backend.upper()}_REPLICAS", "3")
    found = {one: Settings().replica_options(one) for one in BACKENDS}
    assert found == {one: {"num_replicas": 3} if one == backend else {} for one in BACKENDS}


def test_replicas_follow_the_load_between_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_SCORER_MAX_REPLICAS", "4")
    monkeypatch.setenv("LIKENESS_SCORER_TARGET_ONGOING_REQUESTS", "2.5")
    config = {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 2.5}
    assert Settings().replica_options("scorer") == {"autoscaling_config": config}
    monkeypatch.setenv("LIKENESS_SCORER_MIN_REPLICAS", "4")
    assert Settings().replica_options("scorer") == {"autoscaling_config": config | {"min_replicas": 4}}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2, "max_replicas": 4}, "{0}_replicas is a fixed number"),
        ({"replicas": 2, "min_replicas": 1}, "{0}_replicas is a fixed number"),
        ({"replicas": 2, "target_ongoing_requests": 4}, "{0}_replicas is a fixed number"),
        ({"max_replicas": 4}, "{0}_target_ongoing_requests must be set"),
        ({"min_replicas": 2}, "{0}_max_replicas must be set"),
        ({"target_ongoing_requests": 4}, "{0}_max_replicas must be set"),
        (
            {"min_replicas": 5, "max_replicas": 4, "target_ongoing_requests": 4},
            "{0}_min_replicas (5) must be at most {0}_max_replicas (4)",
        ),
    ],
)
def test_contradictions_are_refused(backend: Backend, values: dict[str, float], message: str) -> None:
    given: dict[str, object] = {f"{backend}_{name}": value for name, value in values.items()}
    with pytest.raises(ValidationError, match=re.escape(message.format(backend))):
        Settings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["replicas", "min_replicas", "max_replicas", "target_ongoing_requests"])
@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_impossible_numbers_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LIKENESS_REFINER_{name.upper()}", value)
    with pytest.raises(ValidationError, match=f"refiner_{name}"):
        Settings()
