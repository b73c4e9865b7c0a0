"""The Job that fills a shared volume with a profile's models, and the replicas that wait for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cluster.models import fetch, marker, wait
from services.common.profile import load_profile
from services.common.settings import Settings

ABSENT = """
name: absent
description: A generator that is nowhere.
generators: [{id: nobody, source: /nowhere/at/all}]
strategies: []
defaults: {metrics: [ssim], selection_metrics: [ssim]}
"""


def test_the_marker_is_another_one_after_a_change_of_the_profile(tmp_path: Path) -> None:
    profile = load_profile("embedded")
    changed = profile.model_copy(update={"description": "other models"})
    assert marker(tmp_path, profile) == marker(tmp_path, profile)
    assert marker(tmp_path, profile) != marker(tmp_path, changed)


def test_replicas_wait_until_the_marker_is_there(tmp_path: Path) -> None:
    profile = load_profile("embedded")
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            marker(tmp_path, profile).touch()

    wait(tmp_path, profile, sleep=sleep)
    assert len(naps) == 2
    wait(tmp_path, profile, sleep=sleep)
    assert len(naps) == 2


@pytest.mark.integration
@pytest.mark.parametrize("profile", ["embedded", "absent"])
def test_everything_is_read_once_and_what_is_missing_is_said(tmp_path: Path, profile: str) -> None:
    name = profile
    if profile == "absent":
        file = tmp_path / "absent.yaml"
        file.write_text(ABSENT, encoding="utf-8")
        name = str(file)
    cache = tmp_path / "cache"
    missing = fetch(cache, Settings(profile=name, home=tmp_path))
    assert marker(cache, load_profile(name)).exists() == (profile == "embedded")
    if profile == "embedded":
        assert missing == []
    else:
        assert len(missing) == 1 and "nobody" in missing[0]
