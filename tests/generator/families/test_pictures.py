"""Pictures of a decoder's output are those of diffusers' image processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from services.generator.families import pictures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_level_is_that_of_the_image_processor(dtype: torch.dtype) -> None:
    processor = VaeImageProcessor()
    random = torch.randn(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    halves = (2 * (torch.arange(960) % 256 + 0.5) / 255 - 1).view(1, 1, 24, 40).expand(1, 3, -1, -1)
    decoded = torch.cat([random, halves]).to(dtype)
    ours, theirs = pictures.of_decoded(processor, decoded), processor.postprocess(decoded, output_type="pil")
    assert [one.size for one in ours] == [(40, 24)] * 4 and {one.mode for one in ours} == {"RGB"}
    for own, stock in zip(ours, theirs, strict=True):
        assert np.array_equal(np.asarray(own), np.asarray(stock))


def test_an_output_in_another_memory_format_gives_the_same() -> None:
    decoded = torch.randn(2, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    last = decoded.to(memory_format=torch.channels_last)
    processor = VaeImageProcessor()
    for one, other in zip(*(pictures.of_decoded(processor, some) for some in (decoded, last)), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
