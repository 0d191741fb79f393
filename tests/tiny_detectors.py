"""Small random zero-shot detectors on disk, laid out as the hub lays out the real ones."""

import string
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
)

from repic.detectors.open_vocabulary import ZeroShotModel
from tests.tiny import built_once

NUM_TOKENS = 64  # that a query may have; the real OWL models read 16
OWL = {
    "owlvit": (OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessorPil, OwlViTProcessor),
    "owlv2": (Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor),
}
DINO = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


@built_once
def build_detector(folder: Path, *, kind: str) -> Path:
    """Write a directory of hidden size 32; kind is one of OWL or of DINO."""
    torch.manual_seed(0)
    model, processor = (build_dino if kind in DINO else build_owl)(kind)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@cache
def load_detector(folder: Path) -> ZeroShotModel:
    """Load it once, for all who leave it as it is."""
    return ZeroShotModel(str(folder), "cpu")


def build_owl(kind: str) -> tuple[Any, Any]:
    make_config, make_model, make_images, make_processor = OWL[kind]
    tokenizer = clip_tokenizer()
    layers = dict(num_hidden_layers=2, num_attention_heads=2, initializer_range=0.2)
    sizes = dict(hidden_size=32, intermediate_size=48, **layers)
    text = dict(
        vocab_size=len(tokenizer),
        max_position_embeddings=NUM_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = make_config(
        text_config={**sizes, **text},
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    model = make_model(config)
    # As they come, all queries mean about the same, and every score is near 1.
    torch.nn.init.normal_(getattr(model, kind).text_model.embeddings.token_embedding.weight)
    for layer in (model.class_head.logit_scale, model.class_head.logit_shift):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images = make_images(size={"height": 64, "width": 64})
    return model, make_processor(images, tokenizer)


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's, one token a letter; the models count on id 0 to pad, and on the last one to end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # "!" is the first
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token="!", model_max_length=NUM_TOKENS)


def build_dino(kind: str) -> tuple[Any, Any]:
    tokenizer = bert_tokenizer()
    text = dict(
        model_type="bert",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=NUM_TOKENS,
        initializer_range=0.2,
    )
    backbone = dict(
        model_type="swin",
        image_size=64,
        window_size=2,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        out_indices=[2, 3, 4],
    )
    make_config, make_model = DINO[kind]
    config = make_config(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=NUM_TOKENS,
        init_std=0.2,
    )
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    return make_model(config), GroundingDinoProcessor(images, tokenizer)


def bert_tokenizer() -> BertTokenizer:
    """BERT's, one token a letter, with the ids that the model's code counts on."""
    tokens = ["[PAD]", "[UNK]", "[MASK]", *string.ascii_lowercase]
    tokens += [f"##{c}" for c in string.ascii_lowercase]
    tokens += [f"[unused{i}]" for i in range(len(tokens), 1030)]
    tokens[101], tokens[102], tokens[1012], tokens[1029] = "[CLS]", "[SEP]", ".", "?"
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, do_lower_case=True)
