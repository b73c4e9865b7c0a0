"""ImageReward against the official forward pass, written out again over the official names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import try_to_load_from_cache
from torch.nn import functional
from torchvision import transforms
from transformers import BertTokenizer

from services.common import images
from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import image_reward
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.image_reward import ImageReward, RewardNetwork, official_name
from services.scorer.pictures import Picture
from tests.scorer.metrics import tiny_blip

MakePicture = Callable[..., Picture]
State = dict[str, torch.Tensor]
TOLERANCE = 1e-4
"""Largest difference to the official pass, and between a picture alone and in a batch, in float32; rewards are ~10."""
TEXTS = ("a red car", "blue cars, a red car", "red " * 60)


@pytest.fixture(scope="module")
def state() -> State:
    """A checkpoint of the tiny architecture, under the official names."""
    network = RewardNetwork(tiny_blip.VISION, tiny_blip.TEXT)
    tiny_blip.shake(network)
    official = {official_name(name): value.clone() for name, value in network.state_dict().items()}
    official["blip.text_encoder.embeddings.position_ids"] = torch.arange(64)[None]
    for side, width in (("vision", 24), ("text", 16)):
        official[f"blip.{side}_proj.weight"] = torch.zeros(256, width)
        official[f"blip.{side}_proj.bias"] = torch.zeros(256)
    return official


@pytest.fixture(scope="module")
def folder(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward") / "ImageReward"
    tiny_blip.write_tokenizer(folder)
    torch.save(state, folder / image_reward.FILE)
    return folder


def _build(folder: Path) -> ImageReward:
    source = ModelSource("image-reward", str(folder), "Apache-2.0")
    return image_reward.build(Settings(device="cpu"), source, tiny_blip.VISION, tiny_blip.TEXT)


@pytest.fixture(scope="module")
def metric(folder: Path) -> ImageReward:
    return _build(folder)


def _official_names(blocks: int, layers: int) -> set[str]:
    """Names of ImageReward(med_config).state_dict(), from image-reward 1.5: ImageReward.py, vit.py, med.py."""
    both = ("weight", "bias")
    names = {"blip.visual_encoder.cls_token", "blip.visual_encoder.pos_embed"}
    parts = ["patch_embed.proj", "norm"]
    for block in range(blocks):
        inner = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        parts += [f"blocks.{block}.{part}" for part in inner]
    names |= {f"blip.visual_encoder.{part}.{kind}" for part in parts for kind in both}
    parts = ["embeddings.LayerNorm"]
    for layer in range(layers):
        for attention in ("attention", "crossattention"):
            inner = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
            parts += [f"encoder.layer.{layer}.{attention}.{part}" for part in inner]
        parts += [
            f"encoder.layer.{layer}.{part}" for part in ("intermediate.dense", "output.dense", "output.LayerNorm")
        ]
    names |= {f"blip.text_encoder.{part}.{kind}" for part in parts for kind in both}
    embeddings = ("word_embeddings.weight", "position_embeddings.weight", "position_ids")
    names |= {f"blip.text_encoder.embeddings.{part}" for part in embeddings}
    names |= {f"blip.{side}_proj.{kind}" for side in ("vision", "text") for kind in both}
    return names | {f"mlp.layers.{index}.{kind}" for index in (0, 2, 4, 6, 7) for kind in both}


def test_names_map_one_to_one_to_those_of_the_official_file() -> None:
    with torch.device("meta"):
        network = RewardNetwork(image_reward.VISION, image_reward.TEXT)
    ours = list(network.state_dict())
    theirs = {official_name(name) for name in ours}
    official = _official_names(blocks=24, layers=12)
    assert len(official) == 625
    assert len(theirs) == len(ours)
    assert official - theirs == image_reward.UNUSED
    assert theirs <= official


def test_shapes_are_those_of_blip_large_and_med_config() -> None:
    with torch.device("meta"):
        network = RewardNetwork(image_reward.VISION, image_reward.TEXT)
    shapes = {official_name(name): tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["blip.visual_encoder.pos_embed"] == (1, 197, 1024)
    assert shapes["blip.visual_encoder.blocks.23.attn.qkv.weight"] == (3072, 1024)
    assert shapes["blip.text_encoder.embeddings.word_embeddings.weight"] == (30524, 768)
    assert shapes["blip.text_encoder.encoder.layer.11.crossattention.self.key.weight"] == (768, 1024)
    assert [shapes[f"mlp.layers.{index}.weight"] for index in (0, 2, 4, 6, 7)] == [
        (1024, 768),
        (128, 1024),
        (64, 128),
        (16, 64),
        (1, 16),
    ]
    # What no shape tells.
    assert (image_reward.VISION.num_attention_heads, image_reward.VISION.layer_norm_eps) == (16, 1e-6)
    assert (image_reward.TEXT.num_attention_heads, image_reward.TEXT.layer_norm_eps) == (12, 1e-12)


def _attend(state: State, name: str, x: torch.Tensor, seen: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """BertAttention of med.py with two heads: attention, dense, residual, norm."""

    def linear(part: str, value: torch.Tensor) -> torch.Tensor:
        return functional.linear(value, state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"])

    def heads(value: torch.Tensor) -> torch.Tensor:
        return value.unflatten(-1, (2, -1)).transpose(1, 2)

    query, key, value = (
        heads(linear("self.query", x)),
        heads(linear("self.key", seen)),
        heads(linear("self.value", seen)),
    )
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    mixed = ((scores if bias is None else scores + bias).softmax(-1) @ value).transpose(1, 2).flatten(2)
    width = (x.shape[-1],)
    norm = f"{name}.output.LayerNorm"
    summed = linear("output.dense", mixed) + x
    return functional.layer_norm(summed, width, state[f"{norm}.weight"], state[f"{norm}.bias"], 1e-12)


def _visual_encoder(state: State, pixels: torch.Tensor) -> torch.Tensor:
    """VisionTransformer.forward of vit.py with three heads."""
    base = "blip.visual_encoder."

    def linear(part: str, value: torch.Tensor) -> torch.Tensor:
        return functional.linear(value, state[f"{base}{part}.weight"], state[f"{base}{part}.bias"])

    def norm(part: str, value: torch.Tensor) -> torch.Tensor:
        scale, shift = state[f"{base}{part}.weight"], state[f"{base}{part}.bias"]
        return functional.layer_norm(value, scale.shape, scale, shift, 1e-6)

    patches = functional.conv2d(
        pixels, state[base + "patch_embed.proj.weight"], state[base + "patch_embed.proj.bias"], stride=8
    )
    x = torch.cat([state[base + "cls_token"], patches.flatten(2).transpose(1, 2)], dim=1) + state[base + "pos_embed"]
    for block in ("blocks.0.", "blocks.1."):
        q, k, v = linear(block + "attn.qkv", norm(block + "norm1", x)).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + linear(block + "attn.proj", mixed.transpose(1, 2).flatten(2))
        x = x + linear(block + "mlp.fc2", functional.gelu(linear(block + "mlp.fc1", norm(block + "norm2", x))))
    return norm("norm", x)


def _official_reward(state: State, folder: Path, text: str, picture: Picture) -> float:
    """ImageReward.score of the official package: padded to 35 tokens, padding masked by -10000."""
    tokenizer = BertTokenizer.from_pretrained(str(folder))
    read = tokenizer(text, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    transform = transforms.Compose(
        [
            transforms.Resize(tiny_blip.SIDE_PIXELS, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(tiny_blip.SIDE_PIXELS),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    seen = _visual_encoder(state, transform(picture.rgb)[None])
    base = "blip.text_encoder.embeddings."
    x = state[base + "word_embeddings.weight"][read["input_ids"]] + state[base + "position_embeddings.weight"][:35]
    x = functional.layer_norm(x, (16,), state[base + "LayerNorm.weight"], state[base + "LayerNorm.bias"], 1e-12)
    bias = (1.0 - read["attention_mask"][:, None, None, :].float()) * -10000.0
    for layer in ("blip.text_encoder.encoder.layer.0", "blip.text_encoder.encoder.layer.1"):
        x = _attend(state, f"{layer}.attention", x, x, bias)
        x = _attend(state, f"{layer}.crossattention", x, seen, None)
        wide = functional.linear(x, *(state[f"{layer}.intermediate.dense.{kind}"] for kind in ("weight", "bias")))
        dense = functional.linear(
            functional.gelu(wide), *(state[f"{layer}.output.dense.{kind}"] for kind in ("weight", "bias"))
        )
        norm = (state[f"{layer}.output.LayerNorm.{kind}"] for kind in ("weight", "bias"))
        x = functional.layer_norm(dense + x, (16,), *norm, 1e-12)
    reward = x[:, 0]
    for index in (0, 2, 4, 6, 7):
        reward = functional.linear(reward, state[f"mlp.layers.{index}.weight"], state[f"mlp.layers.{index}.bias"])
    return float((reward - 0.16717362830052426) / 1.0333394966054072)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [(32, 32), (90, 41), (33, 64)])
def test_rewards_are_those_of_the_official_pass(
    text: str, size: tuple[int, int], metric: ImageReward, state: State, folder: Path, make_picture: MakePicture
) -> None:
    picture = make_picture(1, *size)
    (value,) = metric.score(text, [picture]).values
    assert value.raw == pytest.approx(_official_reward(state, folder, text, picture), abs=TOLERANCE)


def test_published_rewards_where_the_published_weights_are(shared_folder: Path) -> None:
    """The four pictures of the authors' README, once THUDM/ImageReward and bert-base-uncased are in the hub's cache."""
    files = [(image_reward.SOURCE, image_reward.FILE), (image_reward.TOKENIZER, "vocab.txt")]
    if not all(isinstance(try_to_load_from_cache(*file), str) for file in files):
        pytest.skip("the published weights are not in the hub's cache")
    metric = image_reward.build(Settings(device="cpu"), ModelSource("image-reward", image_reward.SOURCE))
    pictures = []
    for index in range(1, 5):
        decoded = images.decode((shared_folder / f"data/imagereward/{index}.webp").read_bytes())
        pictures.append(Picture(decoded.rgb, decoded.pixel_hash))
    text = "a painting of an ocean with clouds and birds, day time, low depth field effect"
    rewards = [value.raw for value in metric.score(text, pictures).values]
    assert rewards == pytest.approx([0.58116, 0.27453, -1.41318, -2.02957], abs=0.01)


def test_a_reward_depends_on_text_and_picture_and_not_on_batch_mates(
    metric: ImageReward, make_picture: MakePicture
) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(10)]
    together = [value.raw for value in metric.score("a red car", pictures).values]
    alone = [metric.score("a red car", [picture]).values[0].raw for picture in pictures]
    assert together == pytest.approx(alone, abs=TOLERANCE)
    assert max(together) - min(together) > 100 * TOLERANCE
    other = [value.raw for value in metric.score("blue cars", pictures).values]
    assert max(abs(a - b) for a, b in zip(together, other, strict=True)) > 100 * TOLERANCE


@pytest.mark.parametrize(("words", "truncated"), [(33, False), (34, True), (600, True)])
def test_a_text_over_35_tokens_says_so(
    words: int, truncated: bool, metric: ImageReward, make_picture: MakePicture
) -> None:
    # [CLS] and [SEP] leave room for 33.
    assert metric.score(" ".join(["red"] * words), [make_picture(1)]).truncated is truncated


def test_normalized_is_the_chance_to_be_preferred_to_the_mean_picture(
    metric: ImageReward, make_picture: MakePicture
) -> None:
    values = sorted(metric.score("a car", [make_picture(seed) for seed in range(6)]).values, key=lambda v: v.raw)
    for value in values:
        unstandardized = value.raw * 1.0333394966054072
        assert value.normalized == pytest.approx(1 / (1 + math.exp(-unstandardized)))
    assert [v.normalized for v in values] == sorted(v.normalized for v in values)


def test_declaration(metric: ImageReward, folder: Path, tmp_path: Path, state: State) -> None:
    spec = metric.spec
    assert (spec.minimum, spec.maximum, spec.higher_is_better, spec.token_limit) == (None, None, True, 35)
    assert spec.revision == _build(folder).spec.revision
    tiny_blip.write_tokenizer(tmp_path)
    torch.save(state | {"mlp.layers.7.bias": torch.ones(1)}, tmp_path / image_reward.FILE)
    assert _build(tmp_path).spec.revision != spec.revision


def test_what_no_reward_depends_on_may_be_absent(tmp_path: Path, state: State, metric: ImageReward) -> None:
    tiny_blip.write_tokenizer(tmp_path)
    used = {name: value for name, value in state.items() if name not in image_reward.UNUSED}
    torch.save(used, tmp_path / image_reward.FILE)
    assert _build(tmp_path).spec.revision == metric.spec.revision


def test_a_checkpoint_that_does_not_fit_is_refused_with_the_official_names(tmp_path: Path, state: State) -> None:
    tiny_blip.write_tokenizer(tmp_path)
    wrong = dict(state)
    del wrong["blip.visual_encoder.blocks.1.norm2.bias"]
    wrong["blip.visual_encoder.blocks.2.norm2.bias"] = torch.zeros(24)
    wrong["mlp.layers.0.weight"] = torch.zeros(1024, 768)
    torch.save(wrong, tmp_path / image_reward.FILE)
    with pytest.raises(UnavailableError) as caught:
        _build(tmp_path)
    assert "1 missing: blip.visual_encoder.blocks.1.norm2.bias" in caught.value.message
    assert "1 unexpected: blip.visual_encoder.blocks.2.norm2.bias" in caught.value.message
    assert "mlp.layers.0.weight (1024, 768) for (1024, 16)" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_another_tokenizer_is_refused(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / image_reward.FILE)
    (tmp_path / "vocab.txt").write_text("\n".join(tiny_blip.WORDS[:-1]) + "\n")
    with pytest.raises(UnavailableError, match="the tokenizer beside it has 12 entries, the network 13"):
        _build(tmp_path)


def test_a_folder_without_the_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"image-reward did not load: looked for ImageReward\.pt"):
        _build(tmp_path)
