from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import NotFoundError, Reason, UnavailableError
from services.common.profile import ROOT, load_profile
from services.common.settings import Settings
from services.refiner.strategies.registry import Registry, build_registry

CAPTIONER = ROOT / "models" / "captioner-embedded"


def test_unknown_strategies_name_the_known() -> None:
    with pytest.raises(NotFoundError) as caught:
        Registry([]).get("dream")
    assert caught.value.reason is Reason.STRATEGY_NOT_FOUND and caught.value.field == "strategy"


def test_llm_is_offered_only_with_an_endpoint() -> None:
    profile = load_profile("embedded").model_copy(update={"captioner": None})
    assert build_registry(Settings(), profile).all() == []
    settings = Settings(llm_base_url="http://127.0.0.1:9/v1", llm_model="m")
    assert [strategy.info.id for strategy in build_registry(settings, profile).all()] == ["llm"]


def test_a_missing_captioner_says_which_folder(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_bytes((ROOT / "models" / "vocabulary.json").read_bytes())
    with pytest.raises(UnavailableError, match="models/captioner-embedded") as caught:
        build_registry(Settings(models_dir=tmp_path), load_profile("embedded"))
    assert str(tmp_path) not in caught.value.message


def test_a_broken_captioner_says_which(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_bytes((ROOT / "models" / "vocabulary.json").read_bytes())
    for name in ("captioner-embedded", "clip-embedded"):
        (tmp_path / name).mkdir()
    with pytest.raises(UnavailableError, match="captioner-embedded") as caught:
        build_registry(Settings(models_dir=tmp_path), load_profile("embedded"))
    assert str(tmp_path) not in caught.value.message


@pytest.mark.skipif(not CAPTIONER.is_dir(), reason="models/captioner-embedded is not trained yet")
def test_the_embedded_profile_has_its_repainter() -> None:
    (strategy,) = build_registry(Settings(), load_profile("embedded")).all()
    assert strategy.info.id == "repainter" and strategy.info.embedded
    (model,) = strategy.models
    assert (model.id, model.source) == ("captioner-embedded", "captioner-embedded") and len(model.revision) == 16
