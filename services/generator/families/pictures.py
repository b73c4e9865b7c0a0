"""Pictures of what decoders give."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image


def of_decoded(image_processor: Any, decoded: torch.Tensor) -> list[Image.Image]:
    """RGB pictures of a decoder's output [B, 3, H, W] from -1 to 1, the same as the image processor's own.

    Rounded to levels where the output lies, so that bytes leave the device and not numbers of four bytes each, and the
    engine's thread, which waits for them, waits half as long.
    """
    from_0_to_1 = image_processor.postprocess(decoded, output_type="pt")
    levels = (from_0_to_1.float() * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return [Image.fromarray(one) for one in levels.cpu().numpy()]
