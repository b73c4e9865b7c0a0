"""Decoding of pictures that are too large for one call of the decoder, whose memory grows with the pixels.

A call takes at most so many pixels (`max_decode_pixels` of a model in the profile). A batch above it is decoded in
parts; what a picture becomes does not depend on them but for rounding. One picture above it is decoded in tiles that
overlap and are blended into each other, as diffusers has it: colors may differ a little from one tile to the next, as
each is normalized by itself. Pictures of at most so many pixels are decoded whole, and so is everything by autoencoders
that know no tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny

DEFAULT_MAX_DECODE_PIXELS = 2 * 1024 * 1024
"""As in profiles: up to 1448 x 1448 whole, larger in tiles of 1024 x 1024."""


@contextmanager
def tiled(pipeline: Any, pixels: int, max_pixels: int) -> Iterator[None]:
    """Lets the pipeline's autoencoder decode in tiles meanwhile, if a picture is too large for one call.

    Args:
        pipeline: Its autoencoder decodes in tiles if it is an AutoencoderKL or AutoencoderTiny.
        pixels: Of each picture.
        max_pixels: In one call. Tiles are squares with the largest power of two for a side that keeps to it.
    """
    vae = pipeline.vae
    is_small = isinstance(vae, AutoencoderTiny)
    knows_tiles = is_small or isinstance(vae, AutoencoderKL)
    if pixels <= max_pixels or not knows_tiles:
        yield
        return
    factor = int(pipeline.vae_scale_factor)
    side = 1 << ((max_pixels.bit_length() - 1) // 2)
    vae.tile_sample_min_size = side
    vae.tile_latent_min_size = side // factor
    if is_small:
        # diffusers takes it for 8 whatever the layers are.
        vae.spatial_scale_factor = factor
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
