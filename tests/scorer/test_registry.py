"""Which metrics a deployment has, and why others are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import NotFoundError
from services.common.profile import Profile
from services.common.settings import Settings
from services.scorer import registry
from services.scorer.registry import Registry

JUDGE = {"mllm-consistency", "mllm-quality"}
"""There only where the settings name an endpoint."""


def test_metrics_of_an_embedder_share_it(loaded: Registry) -> None:
    image, text = (loaded.metrics[id_] for id_ in ("clip-embedded", "clip-embedded-text"))
    assert image.embedder is text.embedder is loaded.embedders["clip-embedded"]  # type: ignore[attr-defined]


def test_absent_metrics_do_not_stop_the_others(profile: Profile, tmp_path: Path) -> None:
    bare = registry.build(Settings(models_dir=tmp_path, lpips_weights_dir=tmp_path, device="cpu"), profile)
    backbones = {"lpips-alex", "lpips-vgg", "lpips-squeeze", "dists"}
    assert set(bare.absent) == {"clip-embedded", "clip-embedded-text", *backbones, *JUDGE}
    assert "ssim" in bare.metrics
    with pytest.raises(NotFoundError, match=r"models/clip-embedded is missing.*known: ahash"):
        bare.metric("clip-embedded-text", field="metrics[0]")
    with pytest.raises(NotFoundError, match="models/clip-embedded is missing"):
        bare.embedder("clip-embedded", field="model")


@pytest.mark.parametrize("kind", ["open_clip", "dinov2", "dreamsim"])
def test_a_model_that_does_not_load_takes_all_its_metrics_with_it(
    kind: str, settings: Settings, profile: Profile, tmp_path: Path
) -> None:
    features = None if kind == "dreamsim" else "second"
    update = {"id": "first", "kind": kind, "source": str(tmp_path / "none"), "features_id": features, "embedded": False}
    embedder = profile.embedders[0].model_copy(update=update)
    built = registry.build(settings, profile.model_copy(update={"embedders": (embedder,)}))
    ids = {"first", "second", "first-text"} & built.absent.keys()
    assert ids == {"open_clip": {"first", "second", "first-text"}, "dinov2": {"first", "second"}}.get(kind, {"first"})


def test_the_second_metric_of_an_embedder_is_an_embedder_too(settings: Settings, profile: Profile) -> None:
    embedder = profile.embedders[0].model_copy(update={"features_id": "clip-features-embedded"})
    built = registry.build(settings, profile.model_copy(update={"embedders": (embedder,)}))
    assert {"clip-embedded", "clip-embedded-text", "clip-features-embedded"} <= built.metrics.keys()
    assert "clip-features-embedded" in built.embedders


def test_metric_and_embedder_agree_on_revision_and_preprocessing(loaded: Registry) -> None:
    for metric in loaded.metrics.values():
        if metric.spec.embedding_model:
            embedder = loaded.embedders[metric.spec.embedding_model].spec
            assert (embedder.revision, embedder.preprocessing) == (metric.spec.revision, metric.spec.preprocessing)


def test_the_real_profile_with_its_trained_models(shared_folder: Path) -> None:
    from services.common.profile import ROOT, load_profile

    if not (ROOT / "models/clip-embedded/open_clip_model.safetensors").is_file():
        pytest.skip("models/clip-embedded is not trained yet")
    weights = shared_folder / "weights/squeezenet1_1"
    built = registry.build(Settings(lpips_weights_dir=weights, device="cpu"), load_profile("embedded"))
    assert set(built.absent) == {"lpips-alex", "lpips-vgg", "dists", *JUDGE}
    assert set(load_profile("embedded").defaults.metrics) <= set(built.metrics)
