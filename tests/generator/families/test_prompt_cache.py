"""Encoded prompts that are kept."""

from __future__ import annotations

import pytest
import torch

from services.generator.families.prompt_cache import PromptCache
from services.generator.pipelines import LoadedModel
from tests.generator.families.test_stable_diffusion import RECORD

ENTRY_BYTES = 3 * 4


class Encoder:
    """Makes views of one batch of the lengths of texts, and notes its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[dict[str, torch.Tensor]]:
        self.calls.append(texts)
        batch = torch.tensor([[float(len(text))] * 3 for text in texts])
        return [{"states": row} for row in batch]


@pytest.fixture
def encode() -> Encoder:
    """A fresh one."""
    return Encoder()


def test_each_text_is_encoded_once(encode: Encoder) -> None:
    cache = PromptCache()
    first = cache.get(["aa", "", "aa"], encode)
    second = cache.get(["", "b", "aa"], encode)
    assert encode.calls == [["aa", ""], ["b"]]
    assert [int(found["states"][0]) for found in [*first, *second]] == [2, 0, 2, 0, 1, 2]


def test_the_least_recently_used_leaves_and_bytes_stay_bounded(encode: Encoder) -> None:
    cache = PromptCache(max_bytes=2 * ENTRY_BYTES)
    cache.get(["a"], encode)
    cache.get(["b"], encode)
    cache.get(["a"], encode)
    cache.get(["c"], encode)
    assert cache.bytes == 2 * ENTRY_BYTES
    encode.calls.clear()
    cache.get(["a"], encode)
    cache.get(["b"], encode)
    assert encode.calls == [["b"]]


def test_more_than_fits_is_still_answered(encode: Encoder) -> None:
    cache = PromptCache(max_bytes=ENTRY_BYTES)
    assert len(cache.get(["a", "b", "c"], encode)) == 3
    assert cache.bytes == ENTRY_BYTES


def test_what_is_kept_does_not_keep_its_batch_alive(encode: Encoder) -> None:
    (found, _) = PromptCache().get(["a", "b"], encode)
    assert found["states"].untyped_storage().nbytes() == ENTRY_BYTES


def test_prompts_that_come_again_are_not_encoded_again(tiny: LoadedModel) -> None:
    calls = []
    handle = tiny.family.pipeline.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    tiny.family.begin([RECORD])
    del calls[:]
    tiny.family.begin([RECORD, RECORD])
    handle.remove()
    assert not calls
