"""PSNR, SSIM and MS-SSIM against torchmetrics, scikit-image and piq, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from services.common import images
from services.scorer.metrics import pixels
from services.scorer.metrics.base import PairMetric
from services.scorer.metrics.pixels import MsSsim, Psnr, Ssim
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference of SSIM and MS-SSIM, computed in float32, to references in float64."""
CPU = torch.device("cpu")
METRICS = (Ssim(CPU), MsSsim(CPU), Psnr())
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.spec.id)


def _flat(value: int, size: tuple[int, int] = (16, 16)) -> Picture:
    rgb = Image.new("RGB", size, (value, value, value))
    return Picture(rgb, images.pixel_hash(rgb))


def _noisy(picture: Picture, seed: int, amplitude: int) -> Picture:
    noise = np.random.default_rng(seed).integers(-amplitude, amplitude + 1, np.asarray(picture.rgb).shape)
    rgb = Image.fromarray(np.clip(np.asarray(picture.rgb) + noise, 0, 255).astype(np.uint8))
    return Picture(rgb, images.pixel_hash(rgb))


def _tensor(picture: Picture) -> torch.Tensor:
    return torch.tensor(np.asarray(picture.rgb)).permute(2, 0, 1)[None].double()


def _pairs(make_picture: MakePicture, *size: int) -> list[tuple[Picture, Picture]]:
    a, b = make_picture(1, *size), make_picture(2, *size)
    return [(a, b), (a, _noisy(a, 3, 40)), (_flat(250, size), _noisy(_flat(250, size), 4, 2))]


class TestParity:
    """Agreement with the packages that people compare with."""

    def test_psnr_and_ssim_agree_with_torchmetrics(self, make_picture: MakePicture) -> None:
        """SSIM without the mirrored borders that torchmetrics counts too."""
        functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
        for a, b in _pairs(make_picture, 70, 50):
            x, y = _tensor(a), _tensor(b)
            _, ssim_map = functional.structural_similarity_index_measure(x, y, data_range=255.0, return_full_image=True)
            ssim = ssim_map[..., 5:-5, 5:-5].mean().item()
            assert Ssim(CPU).score(a, [b])[0].raw == pytest.approx(ssim, abs=TOLERANCE)
            psnr = functional.peak_signal_noise_ratio(x, y, data_range=255.0).item()
            assert Psnr().score(a, [b])[0].raw == pytest.approx(psnr, abs=1e-4)

    def test_ssim_agrees_with_scikit_image(self, make_picture: MakePicture) -> None:
        for a, b in _pairs(make_picture, 64, 33):
            expected = structural_similarity(
                np.asarray(a.rgb),
                np.asarray(b.rgb),
                data_range=255,
                channel_axis=2,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            assert Ssim(CPU).score(a, [b])[0].raw == pytest.approx(expected, abs=TOLERANCE)

    def test_ms_ssim_agrees_with_piq(self, make_picture: MakePicture) -> None:
        piq = pytest.importorskip("piq", reason="piq is not installed")
        for a, b in _pairs(make_picture, 192, 176):
            expected = piq.multi_scale_ssim(_tensor(a), _tensor(b), data_range=255.0).item()
            assert MsSsim(CPU).score(a, [b])[0].raw == pytest.approx(expected, abs=TOLERANCE)

    @pytest.mark.parametrize("size", [(176, 176), (181, 203)])
    def test_ms_ssim_of_gray_pictures_is_the_product_of_torchmetrics_terms(
        self, size: tuple[int, int], make_picture: MakePicture
    ) -> None:
        """Gray, as torchmetrics averages channels first; the fifth scale without its mirrored borders."""
        ssim = pytest.importorskip("torchmetrics.functional.image.ssim", reason="torchmetrics is not installed")
        a, b = (_gray(make_picture(seed, *size)) for seed in (1, 2))
        b = _gray(_noisy(a, 5, 60)) if size[0] % 2 else b
        x, y = _tensor(a), _tensor(b)
        expected = 1.0
        for scale, weight in enumerate(pixels.SCALE_WEIGHTS):
            if scale == 4:
                _, full = ssim._ssim_update(x, y, data_range=255.0, return_full_image=True)
                term = full[..., 5:-5, 5:-5].mean()
            else:
                _, term = ssim._ssim_update(x, y, data_range=255.0, return_contrast_sensitivity=True)
            expected *= float(term.clamp_min(0)) ** weight
            x, y = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y))
        assert MsSsim(CPU).score(a, [b])[0].raw == pytest.approx(expected, abs=TOLERANCE)


def _gray(picture: Picture) -> Picture:
    rgb = picture.rgb.convert("L").convert("RGB")
    return Picture(rgb, images.pixel_hash(rgb))


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
    (value,) = Ssim(CPU).score(a, [b])
    assert value.raw < -0.9
    assert value.normalized == 0.0
    assert MsSsim(CPU).score(a, [b])[0].raw == 0.0


def test_local_ssim_tells_where_pictures_differ(make_picture: MakePicture) -> None:
    target = make_picture(1, 128, 64)
    pixels = np.array(target.rgb)
    pixels[:16, -32:] = 255 - pixels[:16, -32:]
    changed = Picture(Image.fromarray(pixels), "changed")
    same, other = Ssim(CPU).score(target, [target, changed])
    assert same.cells == pytest.approx([1.0] * 64)
    assert min(other.cells) in other.cells[6:8] and min(other.cells) < 0.5
    assert other.cells[32:] == pytest.approx([1.0] * 32)
    # A grid of cells of nearly equal size: their mean is nearly the whole.
    assert np.mean(other.cells) == pytest.approx(other.raw, abs=0.02)


@each_metric
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (9, 200), (33, 20)])
def test_identity_is_best_symmetry_and_independence_of_batch_mates(
    metric: PairMetric, size: tuple[int, int], make_picture: MakePicture
) -> None:
    a, b, c = (make_picture(seed, *size) for seed in (1, 2, 3))
    assert metric.score(a, [a])[0].normalized == pytest.approx(1.0)
    assert metric.score(a, [b]) == metric.score(b, [a])
    assert metric.score(a, [b, c, a])[:2] == [metric.score(a, [b])[0], metric.score(a, [c])[0]]


def test_ms_ssim_takes_over_the_finest_scale_from_ssim(
    make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    moments = pixels._moments

    def counted(picture: Picture, size: tuple[int, int], scale: int, device: torch.device) -> pixels._Moments:
        compared.append(scale)
        return moments(picture, size, scale, device)

    monkeypatch.setattr(pixels, "_moments", counted)
    target, *candidates = (make_picture(seed, 176, 176) for seed in range(3))
    Ssim(CPU).score(target, candidates)
    assert compared == [0, 0, 0]
    MsSsim(CPU).score(target, candidates)
    assert compared[3:] == [1, 1, 2, 2, 3, 3, 4, 4, 1, 2, 3, 4]


@each_metric
def test_a_candidate_of_another_size_is_resized_to_the_target(metric: PairMetric, make_picture: MakePicture) -> None:
    target, candidate = make_picture(1, 190, 180), make_picture(1, 80, 60)
    by_hand = candidate.rgb.resize((190, 180), Image.Resampling.BICUBIC)
    assert metric.score(target, [candidate]) == metric.score(target, [Picture(by_hand, "x")])
