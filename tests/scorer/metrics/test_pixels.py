"""SSIM and PSNR against torchmetrics (its SSIM map without the mirrored borders) and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from services.common import images
from services.scorer.metrics.base import PairMetric
from services.scorer.metrics.pixels import Psnr, Ssim
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]


def _flat(value: int, size: tuple[int, int] = (16, 16)) -> Picture:
    rgb = Image.new("RGB", size, (value, value, value))
    return Picture(rgb, images.pixel_hash(rgb))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_agree_with_torchmetrics(seed: int, make_picture: MakePicture) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    a, b = make_picture(seed, 70, 50), make_picture(seed + 100, 70, 50)
    x, y = (torch.from_numpy(p.array((70, 50)).copy()).permute(2, 0, 1)[None].double() for p in (a, b))
    _, ssim_map = functional.structural_similarity_index_measure(x, y, data_range=255.0, return_full_image=True)
    ssim = ssim_map[..., 5:-5, 5:-5].mean().item()
    psnr = functional.peak_signal_noise_ratio(x, y, data_range=255.0).item()
    assert Ssim().score(a, [b])[0].raw == pytest.approx(ssim, abs=1e-6)
    assert Psnr().score(a, [b])[0].raw == pytest.approx(psnr, abs=1e-4)


def test_psnr_by_hand() -> None:
    (value,) = Psnr().score(_flat(100), [_flat(110)])
    assert value.raw == pytest.approx(10 * math.log10(255**2 / 100))
    assert value.normalized == pytest.approx(value.raw / 50)


def test_psnr_of_black_and_white_is_0() -> None:
    assert Psnr().score(_flat(0), [_flat(255)])[0].raw == 0.0


def test_psnr_of_identical_pictures_is_capped() -> None:
    (value,) = Psnr().score(_flat(7), [_flat(7)])
    assert (value.raw, value.normalized, value.adjusted) == (100.0, 1.0, 0.0)


def test_psnr_never_passes_its_cap(make_picture: MakePicture) -> None:
    a = make_picture(1, 1024, 1024)
    pixels = np.array(a.rgb)
    pixels[0, 0, 0] ^= 1
    b = Picture(Image.fromarray(pixels), "other")
    assert Psnr().score(a, [b])[0].raw == 100.0


def test_inverted_structure_is_the_worst_ssim_and_normalizes_to_0() -> None:
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
    a, b = (Picture(Image.fromarray(x).convert("RGB"), "x") for x in (board, 255 - board))
    (value,) = Ssim().score(a, [b])
    assert value.raw < -0.9
    assert value.normalized == 0.0


@pytest.mark.parametrize("metric", [Ssim(), Psnr()], ids=["ssim", "psnr"])
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (9, 300), (33, 20)])
def test_identity_is_best_symmetry_and_independence_of_batch_mates(
    metric: PairMetric, size: tuple[int, int], make_picture: MakePicture
) -> None:
    a, b, c = (make_picture(seed, *size) for seed in (1, 2, 3))
    assert metric.score(a, [a])[0].normalized == pytest.approx(1.0)
    assert metric.score(a, [b]) == metric.score(b, [a])
    assert metric.score(a, [b, c, a])[:2] == [metric.score(a, [b])[0], metric.score(a, [c])[0]]


@pytest.mark.parametrize("metric", [Ssim(), Psnr()], ids=["ssim", "psnr"])
def test_a_candidate_of_another_size_is_resized_to_the_target(metric: PairMetric, make_picture: MakePicture) -> None:
    target, candidate = make_picture(1, 40, 30), make_picture(1, 80, 60)
    by_hand = candidate.rgb.resize((40, 30), Image.Resampling.BICUBIC)
    assert metric.score(target, [candidate]) == metric.score(target, [Picture(by_hand, "x")])
