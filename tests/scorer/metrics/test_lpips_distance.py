"""LPIPS against the lpips package: random weights always, SqueezeNet's own where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from torch import nn

from services.common import images
from services.common.heads import Recipe
from services.common.settings import Settings
from services.scorer.metrics import imagenet, lpips_distance
from services.scorer.metrics.lpips_distance import ALEX, NETWORKS, SQUEEZE, VGG, Lpips, Network
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]
TOLERANCE = 1e-5
"""Largest difference to the package, and between a picture alone and in a batch, in float32."""
BFLOAT16_TOLERANCE = 0.01
"""Largest difference of a distance between bfloat16 and float32 on a CPU, real weights and pictures."""

each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.id)


@pytest.fixture(scope="module")
def make_metric(random_features: MakeFeatures) -> Callable[[Network], Lpips]:
    made: dict[str, Lpips] = {}

    def make(network: Network) -> Lpips:
        if network.id not in made:
            made[network.id] = Lpips(network, random_features(network.backbone))
        return made[network.id]

    return make


def _copy(picture: Picture) -> Picture:
    """The same picture as another request brings it: nothing is made of it yet."""
    return Picture(picture.rgb, picture.pixel_hash)


def _package(network: Network) -> lpips.LPIPS:
    return lpips.LPIPS(net=network.heads, version="0.1", pnet_rand=True, verbose=False)


def _by_package(package: lpips.LPIPS, a: Picture, b: Picture) -> float:
    x, y = (lpips.im2tensor(np.asarray(picture.rgb)) for picture in (a, b))
    with torch.no_grad():
        return float(package(x, y))


@each_network
def test_random_weights_agree_with_the_package(
    network: Network,
    make_metric: Callable[[Network], Lpips],
    make_picture: MakePicture,
    torchvision_makes_random_features: None,
) -> None:
    package = _package(network)
    target, *candidates = (make_picture(seed, 33, 48) for seed in range(3))
    for candidate, value in zip(candidates, make_metric(network).score(target, candidates), strict=True):
        assert value.raw == pytest.approx(_by_package(package, target, candidate), abs=TOLERANCE)
        assert value.raw > 0


@pytest.mark.parametrize(("network", "length"), [(ALEX, 1152), (VGG, 1472), (SQUEEZE, 2240)])
def test_a_distance_is_linear_in_the_heads(
    network: Network,
    length: int,
    make_metric: Callable[[Network], Lpips],
    make_picture: MakePicture,
    torchvision_makes_random_features: None,
) -> None:
    metric = make_metric(network)
    target, candidate = make_picture(1, 32, 32), make_picture(2, 32, 32)
    vectors = metric.differences(target, [candidate])
    assert vectors.shape == (1, length)
    assert metric.heads.shape == (length,)
    assert vectors.min() >= 0
    assert metric.heads.min() >= 0
    own_heads = np.random.default_rng(0).random(length)
    package = _package(network)
    weights = [head.model[-1].weight for head in package.lins]
    parts = np.split(own_heads, np.cumsum([weight.shape[1] for weight in weights])[:-1])
    for weight, part in zip(weights, parts, strict=True):
        weight.data = torch.tensor(part, dtype=torch.float32).view_as(weight)
    assert float(vectors[0] @ own_heads) == pytest.approx(_by_package(package, target, candidate), rel=1e-5)


@each_network
def test_identity_symmetry_and_independence_of_batch_mates(
    network: Network, make_metric: Callable[[Network], Lpips], make_picture: MakePicture
) -> None:
    metric = make_metric(network)
    a, b, c = (make_picture(seed, 32, 32) for seed in (1, 2, 3))
    (same,) = metric.score(a, [a])
    assert (same.raw, same.normalized) == pytest.approx((0.0, 1.0), abs=TOLERANCE)
    alone = [metric.score(a, [_copy(x)])[0].raw for x in (b, c)]
    together = [value.raw for value in metric.score(a, [_copy(x) for x in (c, b, b)])]
    assert together == pytest.approx([alone[1], alone[0], alone[0]], abs=TOLERANCE)
    assert metric.score(_copy(b), [a])[0].raw == pytest.approx(alone[0], abs=TOLERANCE)


class TestPasses:
    """How often the backbone runs, and over how many pictures."""

    @pytest.fixture
    def metric(self, random_features: MakeFeatures) -> Lpips:
        return Lpips(ALEX, random_features(ALEX.backbone))

    @pytest.fixture
    def seen(self, metric: Lpips) -> list[int]:
        sizes: list[int] = []
        metric._layers[0].register_forward_hook(lambda _module, inputs, _output: sizes.append(inputs[0].shape[0]))
        return sizes

    def test_n_candidates_cost_n_plus_1_and_n_for_a_known_target(
        self, metric: Lpips, seen: list[int], make_picture: MakePicture
    ) -> None:
        target, *candidates = (make_picture(seed) for seed in range(4))
        metric.score(target, candidates)
        assert seen == [1, 3]
        metric.score(_copy(target), [_copy(candidate) for candidate in candidates[:2]])
        assert seen == [1, 3, 2]

    def test_metrics_of_one_pair_share_its_vector(
        self, metric: Lpips, seen: list[int], make_picture: MakePicture
    ) -> None:
        target, *candidates = (make_picture(seed) for seed in range(4))
        metric.differences(target, candidates[:2])
        metric.score(target, candidates)
        metric.differences(target, candidates)
        assert seen == [1, 2, 1]
        other = make_picture(7)
        metric.score(other, candidates)
        assert seen == [1, 2, 1, 1, 3]

    def test_large_pictures_go_in_smaller_batches(
        self, metric: Lpips, seen: list[int], make_picture: MakePicture
    ) -> None:
        side = int((ALEX.batch_pixels / 2) ** 0.5) // 16
        metric._network = Network(ALEX.id, ALEX.name, ALEX.backbone, ALEX.heads, ALEX.taps, 2 * side * side)
        metric.score(make_picture(0, side, side), [make_picture(seed, side, side) for seed in range(1, 6)])
        assert seen == [1, 2, 2, 1]


def test_the_smallest_pictures_are_taken(make_metric: Callable[[Network], Lpips], make_picture: MakePicture) -> None:
    assert make_metric(SQUEEZE).score(make_picture(1, 8, 8), [make_picture(2, 8, 8)])[0].raw > 0


def test_other_weights_have_another_revision(
    make_metric: Callable[[Network], Lpips], random_features: MakeFeatures
) -> None:
    features = random_features(SQUEEZE.backbone)
    assert Lpips(SQUEEZE, features).spec.revision == make_metric(SQUEEZE).spec.revision
    features[0].weight[0, 0, 0, 0] += 1
    assert Lpips(SQUEEZE, features).spec.revision != make_metric(SQUEEZE).spec.revision
    assert Lpips(SQUEEZE, features).head.backbone.revision != make_metric(SQUEEZE).head.backbone.revision


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (ALEX, (64, 192, 384, 256, 256)),
        (VGG, (64, 128, 256, 512, 512)),
        (SQUEEZE, (64, 128, 256, 384, 384, 512, 512)),
    ],
)
def test_the_head_is_the_published_one(
    network: Network, layers: tuple[int, ...], make_metric: Callable[[Network], Lpips]
) -> None:
    metric = make_metric(network)
    assert (metric.head.backbone.metric, metric.head.backbone.layers) == (network.id, layers)
    assert metric.head.array.tolist() == metric.heads.tolist()
    assert (metric.head.recipe, metric.head.parent) == (Recipe.PUBLISHED, "")


def test_the_backbones_revision_knows_nothing_of_the_heads(
    make_metric: Callable[[Network], Lpips], random_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = make_metric(SQUEEZE)
    doubled = [2 * layer for layer in lpips_distance.published_heads(SQUEEZE)]
    monkeypatch.setattr(lpips_distance, "published_heads", lambda _: doubled)
    other = Lpips(SQUEEZE, random_features(SQUEEZE.backbone))
    assert other.head.backbone == published.head.backbone
    assert other.head.revision != published.head.revision
    assert other.spec.revision != published.spec.revision


class TestRealWeights:
    """SqueezeNet's ImageNet features, the one published backbone that is at hand here."""

    @pytest.fixture
    def settings(self, shared_folder: Path) -> Settings:
        folder = shared_folder / "weights/squeezenet1_1"
        if not folder.is_dir():
            pytest.skip("../shared/weights/squeezenet1_1 is absent")
        return Settings(lpips_weights_dir=folder, device="cpu")

    @pytest.fixture
    def pictures(self, shared_folder: Path) -> list[Picture]:
        folder = shared_folder / "data/lpips_imgs"
        decoded = (images.decode((folder / name).read_bytes()) for name in ("ex_ref.png", "ex_p0.png", "ex_p1.png"))
        return [Picture(one.rgb, one.pixel_hash) for one in decoded]

    def test_distances_are_the_published_ones(self, real_lpips: Lpips, pictures: list[Picture]) -> None:
        values = [value.raw for value in real_lpips.score(pictures[0], pictures[1:])]
        assert [round(value, 4) for value in values] == [0.7110, 0.1479]

    def test_bfloat16_is_close_and_has_its_own_revision(self, settings: Settings, pictures: list[Picture]) -> None:
        (whole,), (half,) = (
            lpips_distance.build(imagenet.Backbones(settings, dtype), SQUEEZE) for dtype in ("float32", "bfloat16")
        )
        assert whole.spec.revision != half.spec.revision
        small = [Picture(picture.rgb.resize((64, 64)), picture.pixel_hash) for picture in pictures]
        expected = [value.raw for value in whole.score(small[0], small[1:])]
        found = [value.raw for value in half.score(_copy(small[0]), [_copy(picture) for picture in small[1:]])]
        assert found == pytest.approx(expected, abs=BFLOAT16_TOLERANCE)
        assert found != expected
