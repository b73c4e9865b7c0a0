"""Shared types survive the wire in both directions."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from services.gateway import domain, ports
from services.gateway.rpc import type_converters as types
from tests.gateway.store.test_codec import CANDIDATE, EDIT, ERROR, INFO, TREE


@pytest.mark.parametrize("aspect", [None, *domain.Aspect])
def test_aspects(aspect: domain.Aspect | None) -> None:
    assert types.aspect_from_proto(types.aspect_to_proto(aspect)) is aspect


def test_aspect_of_a_later_version_counts_as_none() -> None:
    assert types.aspect_from_proto(99) is None


def test_values_survive() -> None:
    assert types.tree_from_proto(types.tree_to_proto(TREE)) == TREE
    assert types.item_error_from_proto(types.item_error_to_proto(ERROR)) == ERROR
    assert CANDIDATE.record is not None
    assert types.record_from_proto(types.record_to_proto(CANDIDATE.record)) == CANDIDATE.record
    for score in CANDIDATE.scores:
        assert types.score_from_proto(types.score_to_proto(score)) == score
    feedback = domain.Feedback("more", domain.Aspect.DETAIL, (EDIT,))
    assert types.feedback_from_proto(types.feedback_to_proto(feedback)) == feedback


def test_what_is_known_of_a_picture_is_sent() -> None:
    sent = types.image_info_to_proto(INFO)
    assert {name: getattr(sent, name) for name in asdict(INFO)} == asdict(INFO)


def test_a_record_says_how_the_picture_began() -> None:
    assert CANDIDATE.record is not None
    started = replace(
        CANDIDATE.record,
        deterministic=True,
        strength=0.5,
        initial_image_content_hash="1" * 64,
        mask_content_hash="2" * 64,
        second_strength=0.25,
        adapter="ink",
        adapter_scale=-1.5,
        adapter_revision="i1",
    )
    assert types.record_from_proto(types.record_to_proto(started)) == started


def test_unset_bounds_are_not_zero() -> None:
    message = types.score_to_proto(domain.Score("psnr", "1", 3.0, 0.5, True, minimum=0.0))
    assert message.HasField("minimum") and not message.HasField("maximum")


def test_catalog_entries_survive() -> None:
    limits = ports.GenerationLimits(
        *(20, 100, 3.0, 64, 64, 16, 128, ("ddim", "dpm"), 77), takes_initial_image=True, takes_guidance_scale=False
    )
    adapters = (ports.AdapterInfo("ink", "i1", "MIT"), ports.AdapterInfo("oil", "", "", "no file"))
    model = ports.ModelInfo("m", "r", "generator", "s", True, "MIT", limits, adapters)
    assert types.model_from_proto(types.model_to_proto(model)) == model
    for state in ports.LoadState:
        model = replace(model, load_state=state, load_problem="no file", size_bytes=2**33)
        assert types.model_from_proto(types.model_to_proto(model)) == model
    bare = ports.ModelInfo("m", "r", "embedder", "s", False, "MIT")
    assert types.model_from_proto(types.model_to_proto(bare)) == bare
    metric = ports.MetricInfo("m", "r", "d", "text-image", False, None, 1.0, "p", "e", 77, True, "MIT")
    assert types.metric_from_proto(types.metric_to_proto(metric)) == metric
