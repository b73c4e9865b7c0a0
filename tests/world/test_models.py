"""The shipped models load, agree on their tokenizer and read fresh drawings."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from services.common.profile import GeneratorModel, load_profile
from world.captions import natural, parse
from world.draw import render_one
from world.imaging import SIZE
from world.scene import Scene, attribute_indices, sample_scene

pytestmark = pytest.mark.filterwarnings("ignore")

SIZE_LIMIT = 60_000_000


def test_both_libraries_read_the_tokenizer_alike(models: Path, scenes: list[Scene]) -> None:
    open_clip = pytest.importorskip("open_clip")
    transformers = pytest.importorskip("transformers")
    folder = models / "clip-embedded"
    hf = transformers.CLIPTokenizer.from_pretrained(models / "generator-embedded" / "tokenizer")
    simple = open_clip.SimpleTokenizer(str(folder / "bpe.txt.gz"), context_length=32)
    own = open_clip.get_tokenizer(f"local-dir:{folder}")
    rng = random.Random(8)
    captions = [natural(scene, rng) for scene in scenes] + ["Something else: 42 unicorns & a café!"]
    for caption in captions:
        ids = hf(caption, truncation=True, max_length=32)["input_ids"]
        assert simple([caption])[0].tolist()[: len(ids)] == ids
        assert own([caption])[0].tolist()[: len(ids)] == ids


@pytest.mark.usefixtures("font")
def test_the_captioner_reads_fresh_drawings(models: Path) -> None:
    module = pytest.importorskip("services.refiner.understanding.embedded_captioner")
    captioner = module.EmbeddedCaptioner.load(models / "captioner-embedded", models / "clip-embedded")
    rng = random.Random(77)
    drawn = [sample_scene(rng) for _ in range(20)]
    images = [Image.fromarray(render_one(scene, 9_000 + i)) for i, scene in enumerate(drawn)]
    captions = captioner.caption(images)
    right = 0
    for scene, caption in zip(drawn, captions, strict=True):
        assert caption.log_probability <= 0
        read = parse(caption.text)
        assert read is not None, caption.text
        right += sum(a == b for a, b in zip(attribute_indices(scene), attribute_indices(read), strict=True))
    assert right / (20 * len(attribute_indices(drawn[0]))) > 0.85
    big = images[0].resize((200, 130))
    sampled = captioner.captions(big, count=4, temperature=1.0, seed=1)
    assert sampled == captioner.captions(big, count=4, temperature=1.0, seed=1)
    assert sampled == sorted(sampled, key=lambda caption: -caption.log_probability)


GENERATORS = [*load_profile("embedded").generators, *load_profile("comparison").generators]


@pytest.mark.parametrize("profile", GENERATORS, ids=[f"{i}-{one.id}" for i, one in enumerate(GENERATORS)])
def test_a_generator_states_its_defaults_and_the_profiles_use_them(models: Path, profile: GeneratorModel) -> None:
    folder = models / profile.source
    settings = json.loads((folder / "likeness.json").read_text())
    assert settings["default_steps"] == profile.default_steps
    assert settings["default_guidance_scale"] == profile.default_guidance_scale
    assert (settings["width"], settings["height"]) == (profile.width_pixels, profile.height_pixels) == (SIZE, SIZE)
    levels = len(json.loads((folder / "unet" / "config.json").read_text())["block_out_channels"])
    reductions = len(json.loads((folder / "vae" / "config.json").read_text())["encoder_block_out_channels"])
    # Latents are even at every level that the denoiser halves.
    assert profile.size_multiple_pixels == 2 ** (levels - 1 + reductions - 1)
    assert SIZE % profile.size_multiple_pixels == profile.max_side_pixels % profile.size_multiple_pixels == 0
    assert (folder / "model_index.json").is_file()


def test_all_weights_fit_the_limit(models: Path) -> None:
    size = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    assert size <= SIZE_LIMIT
