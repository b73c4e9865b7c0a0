"""Profiles: the shipped ones load; broken ones say what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common import profile
from services.common.errors import InvalidInputError, UnavailableError
from services.common.settings import Settings


@pytest.mark.parametrize("name", sorted(path.stem for path in (profile.ROOT / "profiles").glob("*.yaml")))
def test_shipped_profiles_are_valid_and_named_like_their_file(name: str) -> None:
    loaded = profile.load_profile(name)
    assert loaded.name == name
    assert set(loaded.defaults.selection_metrics) <= set(loaded.defaults.metrics)
    assert loaded.defaults.strategy in loaded.strategies


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="there is no profile 'nope'; allowed: comparison, embedded, sd15"):
        profile.load_profile("nope")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: [", "not a valid profile"),
        ("name: x\n", "generators"),
        ("", "not a valid profile"),
        ("name: x\nnonsense: 1\n", "nonsense"),
    ],
)
def test_a_broken_profile_says_what_is_wrong(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        profile.load_profile(str(path))
    assert caught.value.field == "LIKENESS_PROFILE"
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("kind", ["aesthetic", "clip_score", "reward_embedded"])
def test_metrics_that_stand_on_an_embedder_name_it_and_others_do_not(kind: str) -> None:
    assert profile.PublishedMetric(id="x", kind=kind, embedder="clip").embedder == "clip"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reward_embedded need one, other kinds have none"):
        profile.PublishedMetric(id="x", kind=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other kinds have none"):
        profile.PublishedMetric(id="x", kind="pickscore", embedder="clip")


def test_a_profile_can_be_a_path(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text((profile.ROOT / "profiles/embedded.yaml").read_text())
    assert profile.load_profile(str(path)).name == "embedded"


def test_an_embedded_source_is_a_folder_and_a_hub_id_stays(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path)
    (tmp_path / "x").mkdir()
    assert profile.resolve_source(settings, "x", embedded=True) == str(tmp_path / "x")
    assert profile.resolve_source(settings, "org/x", embedded=False) == "org/x"
    with pytest.raises(UnavailableError, match="models/y is missing; run 'make models'"):
        profile.resolve_source(settings, "y", embedded=True)


def test_the_revision_follows_names_and_bytes_of_weights_and_configuration(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a/weights.safetensors").write_bytes(b"1")
    first = profile.weights_digest(tmp_path)
    (tmp_path / "README.md").write_text("a card does not change the model")
    assert profile.weights_digest(tmp_path) == first
    (tmp_path / "a/weights.safetensors").write_bytes(b"2")
    second = profile.weights_digest(tmp_path)
    (tmp_path / "a/weights.safetensors").rename(tmp_path / "a/other.safetensors")
    assert len({first, second, profile.weights_digest(tmp_path)}) == 3


def test_bytes_cannot_move_between_files_unseen(tmp_path: Path) -> None:
    for name, contents in {"x": ("ab", "c"), "y": ("a", "bc")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.json").write_text(contents[0])
        (tmp_path / name / "2.json").write_text(contents[1])
    assert profile.weights_digest(tmp_path / "x") != profile.weights_digest(tmp_path / "y")
