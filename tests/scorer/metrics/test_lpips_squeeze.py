"""LPIPS against the lpips package: random weights always, ImageNet's where they are at hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from services.common import images
from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import lpips_squeeze, lpips_weights
from services.scorer.metrics.lpips_squeeze import LpipsSqueeze, PyramidCache
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference to the package, and between a picture alone and in a batch, in float32."""


def _random_network() -> lpips.LPIPS:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="squeeze", version="0.1", pnet_rand=True, verbose=False)


@pytest.fixture(scope="module")
def network() -> lpips.LPIPS:
    return _random_network()


@pytest.fixture(scope="module")
def metric(network: lpips.LPIPS) -> LpipsSqueeze:
    return LpipsSqueeze(network, torch.device("cpu"))


def _by_package(network: lpips.LPIPS, a: Picture, b: Picture) -> float:
    x, y = (lpips.im2tensor(np.asarray(picture.rgb)) for picture in (a, b))
    with torch.no_grad():
        return float(network(x, y))


@pytest.mark.parametrize("size", [(64, 64), (33, 70)])
def test_random_weights_agree_with_the_package(
    size: tuple[int, int], metric: LpipsSqueeze, network: lpips.LPIPS, make_picture: MakePicture
) -> None:
    target, *candidates = (make_picture(seed, *size) for seed in range(4))
    for candidate, value in zip(candidates, metric.score(target, candidates), strict=True):
        assert value.raw == pytest.approx(_by_package(network, target, candidate), abs=TOLERANCE)
        assert value.raw > 0


def test_identity_symmetry_and_independence_of_batch_mates(metric: LpipsSqueeze, make_picture: MakePicture) -> None:
    a, b, c = (make_picture(seed) for seed in (1, 2, 3))
    assert metric.score(a, [a])[0].raw == pytest.approx(0.0, abs=TOLERANCE)
    assert metric.score(a, [a])[0].normalized == pytest.approx(1.0, abs=TOLERANCE)
    alone = [metric.score(a, [x])[0].raw for x in (b, c)]
    assert [value.raw for value in metric.score(a, [b, c])] == pytest.approx(alone, abs=TOLERANCE)
    assert metric.score(b, [a])[0].raw == pytest.approx(alone[0], abs=TOLERANCE)


def test_n_candidates_cost_n_plus_1_passes_and_n_for_a_known_target(make_picture: MakePicture) -> None:
    network = _random_network()
    seen: list[int] = []
    network.net.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[0]))
    metric = LpipsSqueeze(network, torch.device("cpu"))
    target, *candidates = (make_picture(seed) for seed in range(4))
    metric.score(target, candidates)
    assert seen == [1, 3]
    metric.score(target, candidates[:2])
    assert seen == [1, 3, 2]


def test_large_pictures_go_in_smaller_batches(make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_squeeze, "BATCH_PIXELS", 2 * 64 * 64)
    network = _random_network()
    seen: list[int] = []
    network.net.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[0]))
    LpipsSqueeze(network, torch.device("cpu")).score(make_picture(0), [make_picture(seed) for seed in range(1, 6)])
    assert seen == [1, 2, 2, 1]


def test_the_smallest_pictures_are_taken(metric: LpipsSqueeze, make_picture: MakePicture) -> None:
    assert metric.score(make_picture(1, 8, 8), [make_picture(2, 8, 8)])[0].raw > 0


def test_another_network_has_another_revision(metric: LpipsSqueeze) -> None:
    other = _random_network()
    with torch.no_grad():
        next(other.net.parameters())[0, 0, 0, 0] += 1
    assert LpipsSqueeze(other, torch.device("cpu")).spec.revision != metric.spec.revision


def test_the_cache_drops_what_was_unused_for_longest() -> None:
    cache = PyramidCache(max_bytes=2 * 400)
    a, b, c = ((torch.full((1, 100), float(i)),) for i in range(3))
    cache.put("a", a)
    cache.put("b", b)
    assert cache.get("a") is a
    cache.put("c", c)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == (a, c)
    cache.put("huge", (torch.zeros(1, 1000),))
    assert cache.get("huge") is None


class TestWeights:
    """Where weights are looked for, and what is said when they are not there or broken."""

    def test_absent_weights_name_the_files_and_the_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError) as caught:
            lpips_squeeze.build(Settings(lpips_weights_dir=tmp_path))
        for words in ("squeezenet1_1_features.safetensors", "squeezenet1_1-*.pth", "LIKENESS_LPIPS_WEIGHTS_DIR"):
            assert words in caught.value.message
        assert str(tmp_path) not in caught.value.message

    def test_both_layouts_load_alike(self, tmp_path: Path, network: lpips.LPIPS) -> None:
        features = {name.partition(".")[2]: value for name, value in network.net.state_dict().items()}
        checkpoint = {f"features.{name}": value for name, value in features.items()}
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        save_file(features, tmp_path / "a" / lpips_weights.FILE)
        torch.save({**checkpoint, "classifier.1.weight": torch.zeros(1)}, tmp_path / "b" / "squeezenet1_1-b8a52dc0.pth")
        one, other = (
            lpips_squeeze.build(Settings(lpips_weights_dir=tmp_path / name, device="cpu")) for name in ("a", "b")
        )
        assert one.spec.revision == other.spec.revision == LpipsSqueeze(network, torch.device("cpu")).spec.revision

    def test_the_models_folder_is_a_usual_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
        with pytest.raises(UnavailableError):
            lpips_weights.find(Settings(models_dir=tmp_path))
        hub = tmp_path / "hub/hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
        hub.parent.mkdir(parents=True)
        hub.touch()
        assert lpips_weights.find(Settings(models_dir=tmp_path)) == hub
        own = tmp_path / "lpips-squeeze" / lpips_weights.FILE
        own.parent.mkdir()
        own.touch()
        assert lpips_weights.find(Settings(models_dir=tmp_path)) == own

    def test_a_file_of_another_network_is_refused_by_name(self, tmp_path: Path) -> None:
        save_file({"0.weight": torch.zeros(1), "99.weight": torch.zeros(1)}, tmp_path / lpips_weights.FILE)
        with pytest.raises(UnavailableError, match=r"missing \['0.bias'.*unexpected \['99.weight'\]"):
            lpips_squeeze.build(Settings(lpips_weights_dir=tmp_path))

    def test_a_broken_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / lpips_weights.FILE).write_bytes(b"broken")
        with pytest.raises(UnavailableError, match="is broken"):
            lpips_squeeze.build(Settings(lpips_weights_dir=tmp_path))


@pytest.fixture(scope="module")
def real(shared_folder: Path) -> LpipsSqueeze:
    folder = shared_folder / "weights/squeezenet1_1"
    if not folder.is_dir():
        pytest.skip("../shared/weights/squeezenet1_1 is absent")
    return lpips_squeeze.build(Settings(lpips_weights_dir=folder, device="cpu"))


def test_real_weights_give_the_published_distances(real: LpipsSqueeze, shared_folder: Path) -> None:
    target, *candidates = (
        _read(shared_folder / "data/lpips_imgs" / name) for name in ("ex_ref.png", "ex_p0.png", "ex_p1.png")
    )
    values = [value.raw for value in real.score(target, candidates)]
    assert [round(value, 4) for value in values] == [0.7110, 0.1479]


def test_no_real_weight_is_lost(real: LpipsSqueeze, shared_folder: Path) -> None:
    stored = load_file(shared_folder / "weights/squeezenet1_1" / lpips_weights.FILE)
    taken = {name.partition(".")[2]: value for name, value in real._network.net.state_dict().items()}
    assert taken.keys() == {name.removeprefix("features.") for name in stored}


def _read(path: Path) -> Picture:
    decoded = images.decode(path.read_bytes())
    return Picture(decoded.rgb, decoded.pixel_hash)
