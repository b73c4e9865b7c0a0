"""The embedded captioner with random weights: sizes come from its own config.json and CLIP's, not from the code."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTokenizer, GPT2Config, GPT2LMHeadModel

from services.refiner.understanding.clip_verifier import ClipVerifier
from services.refiner.understanding.embedded_captioner import CaptionNetwork, EmbeddedCaptioner, FeatureMaps

WORDS = ["a</w>", "red</w>", "car</w>", "cat</w>", ",</w>"]
MAX_TOKENS = 6


def _clip(folder: Path, side: int) -> open_clip.CLIP:
    vision = {"image_size": side, "layers": [1, 1, 1, 1], "width": 16, "head_width": 16, "patch_size": None}
    text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "size": side}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    model = open_clip.CLIP(**json.loads(json.dumps(config))).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model


def _captioner(folder: Path, clip: open_clip.CLIP, side: int) -> int:
    """Writes a captioner for pictures of a side; gives the number of its prefix tokens."""
    maps = FeatureMaps(clip.visual)(torch.zeros(1, 3, side, side))
    names = ["<|startoftext|>", "<|endoftext|>", *WORDS]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "tokenizer")
    prefix = sum(tokens.shape[1] for tokens in maps)
    language = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(names),
            n_positions=prefix + 1 + MAX_TOKENS,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    network = CaptionNetwork([tokens.shape[-1] for tokens in maps], language)
    language.save_pretrained(folder / "lm")
    save_file(network.prefix_state(), folder / "model.safetensors")
    config = {"channels": [tokens.shape[-1] for tokens in maps], "image_size": side, "mean": 0.5, "std": 0.25}
    config |= {"start_id": 0, "end_id": 1, "max_tokens": MAX_TOKENS}
    (folder / "config.json").write_text(json.dumps(config))
    return prefix


@pytest.mark.parametrize(("side", "tokens"), [(64, 20), (96, 45), (128, 80)])
def test_pictures_of_any_size_become_those_of_the_models(tmp_path: Path, side: int, tokens: int) -> None:
    clip = _clip(tmp_path / "clip", side)
    assert _captioner(tmp_path / "captioner", clip, side) == tokens
    captioner = EmbeddedCaptioner.load(tmp_path / "captioner", tmp_path / "clip")
    for width, height in ((side, side), (64, 64), (150, 40)):
        picture = Image.effect_noise((width, height), 64).convert("RGB")
        (best,) = captioner.caption([picture])
        assert best.log_probability < 0
        drawn = captioner.captions(picture, 4, 1.5, seed=0)
        assert len({caption.text for caption in drawn}) == len(drawn)
        verifier = ClipVerifier.load(tmp_path / "clip")
        assert len(verifier.logits(picture, ["a red car", "a cat"])) == 2
