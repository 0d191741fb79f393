"""The tiny model from nothing: its tokenizer, its directory and the weights that it starts with."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from repic.models.scratch.build import build_directory
from repic.models.scratch.tokenizer import SPECIAL_TOKENS, build_tokenizer
from repic.toybox.vocabulary import words
from repic.toybox.world import SPLITS, SYLLABLES, names

ARCHITECTURE = {
    "text": {
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "rope_theta": 1e6,
        "mrope_section": [4, 6, 6],
        "max_position_embeddings": 512,
    },
    "vision": {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 16,
        "temporal_patch_size": 1,
    },
    "pixels": (1024, 65536),
    "matching_layers": [1],
    "initializer_range": 0.08,
}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(SYLLABLES, words())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch") / "model"
    build_directory(folder=folder, seed=0, **ARCHITECTURE)
    return folder


@pytest.mark.parametrize(
    ("part", "sizes", "told"),
    [
        ("text", {"hidden_size": 130}, "text.hidden_size is no multiple of text.num_attention_"),
        ("text", {"num_key_value_heads": 3}, "no multiple of text.num_key_value_heads"),
        ("text", {"mrope_section": [4, 6, 7]}, "text.mrope_section is not half of text.hidden_s"),
        ("vision", {"num_heads": 3}, "vision.hidden_size is no multiple of 4 vision.num_heads"),
        ("vision", {"fullatt_block_indexes": [1]}, "vision.fullatt_block_indexes names a layer"),
        ("matching_layers", [3], "matching_layers names a layer that is not there"),
    ],
)
def test_sizes_of_no_model_are_refused(tmp_path: Path, part: str, sizes: Any, told: str) -> None:
    old: Any = ARCHITECTURE[part]
    new = {**old, **sizes} if isinstance(old, dict) else sizes
    with pytest.raises(ValueError, match=re.escape(told)):
        build_directory(folder=tmp_path, seed=0, **{**ARCHITECTURE, part: new})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("split", SPLITS)
def test_every_name_is_spelled_from_its_two_syllables(tokenizer, split):
    """In a prompt, in a caption, and before any punctuation: only then can it be copied."""
    for name in names(split):
        for text in (f"Name: {name}\n", f"bear, {name}, sits", f"bear, {name}."):
            tokens = tokenizer.tokenize(text)
            place = tokens.index("Ġ<")
            assert tokens[place : place + 4] == ["Ġ<", name[1:3], name[3:5], ">"]


def test_words_are_single_tokens_and_any_text_survives(tokenizer):
    assert tokenizer.tokenize("A striped red bear with a blue hat") == [
        "A",
        *("Ġ" + word for word in "striped red bear with a blue hat".split()),
    ]
    for text in ("Ünïcode ☃ and\ttabs\n\n", "[12, 200, 30, 41]", "<bo>'s two-toned 2nd cat"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_special_tokens_stand_alone_and_the_chat_format_is_qwens(tokenizer):
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token).input_ids) == 1
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Hi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_directory_loads_through_the_auto_classes(directory):
    model = AutoModelForImageTextToText.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    images = AutoImageProcessor.from_pretrained(directory)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert model.config.text_config.vocab_size >= len(tokenizer)
    assert images.patch_size == 16


def test_a_seed_decides_the_weights(directory, tmp_path):
    def digest(folder):
        return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    for seed in (0, 1):
        build_directory(folder=tmp_path / str(seed), seed=seed, **ARCHITECTURE)
    assert digest(tmp_path / "0") == digest(directory)
    assert digest(tmp_path / "1") != digest(directory)


def attentions(directory: Path, text: str) -> tuple[list[torch.Tensor], list[str]]:
    model = AutoModelForImageTextToText.from_pretrained(directory, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        out = model(input_ids=ids, output_attentions=True)
    return [a[0] for a in out.attentions], tokenizer.convert_ids_to_tokens(ids[0])


def test_heads_of_the_first_layer_start_at_their_distances(directory):
    (first, *_), _ = attentions(directory, "a plain red bear with a blue hat is on the left")
    for head, distance in ((0, 1), (1, 2), (2, 3), (3, 8)):
        row = first[head, -1].flip(0)  # by distance
        assert abs(int(row.argmax()) - distance) <= (0 if head < 2 else 2)


def test_matching_heads_prefer_what_has_the_same_neighbourhood(directory):
    """Whoever was just described gains attention, by mean log-odds over the heads."""
    text = "a red bear <momi>. a pink frog <tavo>. we see here on the left {} <"
    odds = {}
    for said in ("a red bear", "a pink frog"):
        (_, second, *_), tokens = attentions(directory, text.format(said))
        of = [second[:, -1, tokens.index(piece) - 1] for piece in ("mo", "ta")]
        odds[said] = (of[0] / of[1]).log().mean().item()
    assert odds["a red bear"] > odds["a pink frog"] + 1


def test_other_numbers_of_heads_are_refused(tmp_path):
    text = {**ARCHITECTURE["text"], "num_attention_heads": 2, "mrope_section": [8, 12, 12]}
    with pytest.raises(ValueError, match="needs 4 heads"):
        build_directory(folder=tmp_path / "x", seed=0, **{**ARCHITECTURE, "text": text})


def test_heads_and_windows_can_be_as_in_the_large_models(tmp_path: Path) -> None:
    text = {**ARCHITECTURE["text"], "num_key_value_heads": 2}
    vision = {**ARCHITECTURE["vision"], "window_size": 64, "fullatt_block_indexes": []}
    changed = {**ARCHITECTURE, "text": text, "vision": vision, "matching_layers": []}
    build_directory(folder=tmp_path, seed=0, **changed)
    config = AutoModelForImageTextToText.from_pretrained(tmp_path).config
    assert config.text_config.num_key_value_heads == 2
    assert config.vision_config.window_size == 64
    assert config.vision_config.fullatt_block_indexes == []
