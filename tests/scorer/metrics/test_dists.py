"""DISTS against piq's, with random weights of the published shapes; below 257 pixels piq's equals the authors' code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import dists, imagenet
from services.scorer.metrics.dists import Dists
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]
TOLERANCE = 1e-5
"""Largest difference to piq, and between a picture alone and in a batch, in float32."""

BFLOAT16_TOLERANCE = 0.01
"""Largest difference of a distance between bfloat16 and float32 on a CPU."""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    drawn = torch.rand(2, 1, 1475, 1, 1)
    # piq takes them as they are; the published ones sum to 1 too.
    return dict(zip(("alpha", "beta"), drawn / drawn.sum(), strict=True))


@pytest.fixture(scope="module")
def metric(random_features: MakeFeatures, weights: dict[str, torch.Tensor]) -> Dists:
    return Dists(random_features(imagenet.VGG16), weights["alpha"].flatten(), weights["beta"].flatten())


def test_random_weights_agree_with_piq(
    metric: Dists,
    weights: dict[str, torch.Tensor],
    random_features: MakeFeatures,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    perceptual = pytest.importorskip("piq.perceptual", reason="piq is not installed")
    holder = nn.Module()
    holder.features = random_features(imagenet.VGG16)
    monkeypatch.setattr(perceptual, "vgg16", lambda **_: holder)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: weights)
    piq = perceptual.DISTS(reduction="none")
    target, *candidates = (make_picture(seed, 48, 33) for seed in range(3))
    pixels = [torch.tensor(p.array((48, 33))).permute(2, 0, 1)[None] / 255 for p in (target, *candidates)]
    for candidate, value in zip(pixels[1:], metric.score(target, candidates), strict=True):
        assert value.raw == pytest.approx(piq(pixels[0], candidate).item(), abs=TOLERANCE)
        assert 0 < value.raw < 1
        assert value.adjusted == pytest.approx(value.raw)


def test_identity_symmetry_and_independence_of_batch_mates(metric: Dists, make_picture: MakePicture) -> None:
    a, b, c = (make_picture(seed, 32, 32) for seed in (1, 2, 3))
    (same,) = metric.score(a, [a])
    assert (same.raw, same.normalized) == pytest.approx((0.0, 1.0), abs=TOLERANCE)
    one, other = (metric.score(a, [x])[0].raw for x in (b, c))
    assert [value.raw for value in metric.score(a, [c, b])] == pytest.approx([other, one], abs=TOLERANCE)
    assert metric.score(b, [a])[0].raw == pytest.approx(one, abs=TOLERANCE)


def test_bfloat16_is_close_and_has_its_own_revision(
    metric: Dists, weights: dict[str, torch.Tensor], random_features: MakeFeatures, make_picture: MakePicture
) -> None:
    half = Dists(random_features(imagenet.VGG16).bfloat16(), weights["alpha"].flatten(), weights["beta"].flatten())
    assert half.spec.revision != metric.spec.revision
    a, b = (make_picture(seed, 32, 32) for seed in (1, 2))
    assert half.score(a, [b])[0].raw == pytest.approx(metric.score(a, [b])[0].raw, abs=BFLOAT16_TOLERANCE)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((64, 64), (64, 64)),
        ((512, 512), (256, 256)),
        ((1000, 300), (853, 256)),
        ((8, 40), (32, 40)),
        ((8, 9000), (32, 4096)),
    ],
)
def test_the_shorter_side_is_reduced_to_256(target: tuple[int, int], expected: tuple[int, int]) -> None:
    assert dists.reduced_size(target) == expected


def test_a_large_pair_is_compared_as_the_authors_prepare_it(
    metric: Dists, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dists, "SHORTER_SIDE_PIXELS", 32)
    a, b = make_picture(1, 64, 70), make_picture(2, 128, 140)
    by_hand = [
        Picture(picture.rgb.resize((32, 35), Image.Resampling.BILINEAR), str(index))
        for index, picture in enumerate((a, b))
    ]
    assert metric.score(a, [b])[0].raw == pytest.approx(metric.score(by_hand[0], by_hand[1:])[0].raw, abs=1e-6)


class TestWeights:
    """The published layouts, and what is refused."""

    @pytest.mark.parametrize("name", ["weights.pt", "dists_weights.pt"])
    def test_both_published_files_are_taken(
        self, name: str, metric: Dists, weights: dict[str, torch.Tensor], random_features: MakeFeatures, tmp_path: Path
    ) -> None:
        torch.save(weights, tmp_path / name)
        save_file(random_features(imagenet.VGG16).state_dict(), tmp_path / imagenet.VGG16.file)
        settings = Settings(lpips_weights_dir=tmp_path, device="cpu")
        (built,) = dists.build(settings, imagenet.Backbones(settings))
        assert built.spec == metric.spec

    def test_absent_weights_are_named(self, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
        settings = Settings(lpips_weights_dir=tmp_path, device="cpu")
        with pytest.raises(UnavailableError, match=r"dists_weights\.pt or weights\.pt is needed"):
            dists.build(settings, imagenet.Backbones(settings))
        torch.save(weights, tmp_path / "weights.pt")
        with pytest.raises(UnavailableError, match=r"vgg16_features\.safetensors"):
            dists.build(settings, imagenet.Backbones(settings))

    def test_other_weights_are_refused_by_name(self, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
        torch.save({"alpha": weights["alpha"][:, :9], "gamma": weights["beta"]}, tmp_path / "weights.pt")
        settings = Settings(lpips_weights_dir=tmp_path, device="cpu")
        with pytest.raises(UnavailableError, match=r"missing: beta.*unexpected: gamma.*another shape: alpha"):
            dists.build(settings, imagenet.Backbones(settings))
