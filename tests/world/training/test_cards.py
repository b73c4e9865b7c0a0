"""Cards of the generators, from made-up results and from none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from world.training import builds, cards

SMALL = builds.SMALL.folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with two generators in it, of which nothing but their state of training is there."""
    monkeypatch.setattr(cards, "MODELS", tmp_path)
    for folder in (builds.EMBEDDED.folder, SMALL):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "likeness.json").write_text(json.dumps({"trained_samples": 64_000}))
    return tmp_path


def _result(**further: Any) -> dict[str, Any]:
    def scores(kind: float) -> dict[str, Any]:
        one = {"kind": kind, "kernel_distance": 0.0123, "kernel_distance_error": 0.0041, "per_kind": {"cat": 0.5}}
        return {"seen": one, "held_out": one | {"kind": None}}

    return {
        "captions": 200,
        "hardware": "CPU x86_64, 3 of 7 cores",
        "gates": [
            {"part": "generated", "metric": "kind", "passed": False},
            {"part": "reconstructions", "metric": "all", "passed": True},
        ],
        "seconds_per_picture": {"batch_1": 0.4},
        "scores": {"generated": scores(0.98), "reconstructions": scores(0.99)},
        "further_generators": {folder: scores(kind) for folder, kind in further.items()},
    }


@pytest.mark.usefixtures("models")
def test_the_embedded_generator_has_gates_distance_and_time() -> None:
    text = cards.card(builds.EMBEDDED.folder, _result())
    assert "| kind | 0.980 | - |" in text and "| kernel_distance | 0.012 | 0.012 |" in text
    assert "Gates: 1 of 2 reached; missed: generated kind." in text
    assert "guidance, CPU x86_64, 3 of 7 cores: {'batch_1': 0.4}." in text
    assert "contact_sheet.png" in text and "Unfinished" not in text and "per_kind" not in text


@pytest.mark.usefixtures("models")
def test_a_further_generator_has_its_own_scores_and_no_gates() -> None:
    text = cards.card(SMALL, _result(**{SMALL: 0.71}))
    assert "| kind | 0.710 | - |" in text and "| kernel_distance | 0.012 | 0.012 |" in text
    assert str(builds.SMALL.channels) in text and "contact_sheet.png" in text
    assert not any(word in text for word in ("Gates", "0.980", "reconstructions", "Seconds", "Unfinished"))


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("folder", "result"), [(builds.EMBEDDED.folder, {}), (SMALL, {}), (SMALL, _result())])
def test_a_generator_without_scores_is_unfinished(folder: str, result: dict[str, Any]) -> None:
    text = cards.card(folder, result)
    assert "**Unfinished**" in text and "64,000 samples" in text and "contact_sheet.png" not in text
    assert "## Metrics" not in text or folder == builds.EMBEDDED.folder


def test_cards_are_written_for_the_folders_that_exist(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = models / "results.json"
    results.write_text(json.dumps(_result(**{SMALL: 0.71})))
    monkeypatch.setattr(cards.evaluate, "RESULTS", results)
    cards.write()
    assert {path.parent.name for path in models.glob("*/README.md")} == {builds.EMBEDDED.folder, SMALL}
    assert (models / SMALL / "README.md").read_text().startswith("# Small embedded generator\n")
