"""Stock transformers captioners, tiny and with random weights, through the same loader as the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from services.refiner.understanding.image_to_text import ImageToTextCaptions

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "cat", "car", "dog", "on", "the", "sea"]
CPU = torch.device("cpu")


def _tiny_blip(folder: Path) -> None:
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    text = {
        "vocab_size": len(WORDS) + 2,
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    torch.manual_seed(0)
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    BlipProcessor(BlipImageProcessor(size=size), BertTokenizer(str(vocabulary))).save_pretrained(folder)


def _tiny_vit_gpt2(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )
    torch.manual_seed(0)
    vit = ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    gpt2 = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=64, add_cross_attention=True, is_decoder=True
    )
    model = VisionEncoderDecoderModel(encoder=ViTModel(vit), decoder=GPT2LMHeadModel(gpt2))
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 2, 3, 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("make", [_tiny_blip, _tiny_vit_gpt2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_captions_with_shares(tmp_path: Path, make: object) -> None:
    make(tmp_path)  # type: ignore[operator]
    captions = ImageToTextCaptions.load(str(tmp_path), revision=None, dtype="float32", device=CPU)
    image = Image.new("RGB", (40, 24), (200, 30, 30))
    state = torch.random.get_rng_state()
    found = captions.weigh(image)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sum(caption.probability for caption in found) == pytest.approx(1.0)
    assert [c.probability for c in found] == sorted((c.probability for c in found), reverse=True)
    assert len({caption.text for caption in found}) == len(found) > 1
    assert captions.weigh(image) == found


def test_a_missing_model_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        ImageToTextCaptions.load(str(tmp_path / "none"), revision=None, dtype="float32", device=CPU)
