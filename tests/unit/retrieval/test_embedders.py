"""Vectors of pictures by random towers of two layers, kept in a folder."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
)

from repic.retrieval.embedders import ClipEmbedder, VisionTowerEmbedder
from tests.fakes import Noise
from tests.tiny import build_llava, build_qwen

PICTURES = [Noise(i, 20 + 9 * i, 30).load() for i in range(5)]


def build_clip(folder: Path) -> Path:
    small = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(1)
    config = CLIPConfig(
        text_config={**small, "vocab_size": 99, "max_position_embeddings": 8},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=12,
        initializer_factor=20.0,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[build_qwen, build_llava], ids=["qwen", "llava"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_clip(tmp_path_factory.mktemp("clip"))


def tower(path: Path, **changes: Any) -> VisionTowerEmbedder:
    plain = {"layer": "tower", "pooling": "mean", "side": 28, "batch_size": 2, "device": "cpu"}
    return VisionTowerEmbedder(path=str(path), **{**plain, **changes})


@cache
def plain_model(path: Path) -> tuple[Any, Any]:
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    return AutoModelForImageTextToText.from_pretrained(path).eval(), processor


@torch.inference_mode()
def plain_tower(path: Path, picture: Image.Image, layer: str, pooling: str) -> np.ndarray:
    """One picture, through the library alone."""
    model, processor = plain_model(path)
    inputs = processor(images=[picture.resize((28, 28))], return_tensors="pt")
    seen = model.model.get_image_features(**inputs, return_dict=True)
    places = seen.last_hidden_state if layer == "tower" else seen.pooler_output[0]
    places = places.reshape(-1, places.shape[-1])
    vector = places.mean(0) if pooling == "mean" else places.max(0).values
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize("layer", ["tower", "projector"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_tower_sees_in_batches_what_it_sees_one_by_one(
    folder: Path, layer: str, pooling: str
) -> None:
    vectors = tower(folder, layer=layer, pooling=pooling)(PICTURES)
    single = [plain_tower(folder, picture, layer, pooling) for picture in PICTURES]
    np.testing.assert_allclose(vectors, np.stack(single), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def change_weight(source: Path, target: Path, part: str) -> None:
    """Copy a model with one weight, the first whose name holds ``part``, another."""
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    weights = load_file(target / "model.safetensors")
    name = next(name for name in sorted(weights) if part in name)
    weights[name] = weights[name] + 1
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def test_a_tower_s_version_follows_from_what_sees_alone(tmp_path: Path) -> None:
    plain = build_qwen(tmp_path / "plain")
    for name, part in (("seeing", "visual.blocks.0"), ("telling", "layers.0.mlp")):
        (tmp_path / name).mkdir()
        change_weight(plain, tmp_path / name, part)
    version = tower(plain).version
    assert tower(plain).version == version
    assert tower(tmp_path / "telling").version == version
    others = [
        tower(tmp_path / "seeing").version,
        tower(plain, side=56).version,
        tower(plain, pooling="max").version,
        tower(plain, layer="projector").version,
    ]
    assert len({version, *others}) == 5


def test_clip_s_vectors_are_its_image_features(clip: Path) -> None:
    embedder = ClipEmbedder(path=str(clip), batch_size=2, device="cpu")
    model: Any = CLIPModel.from_pretrained(clip).eval()
    processor: Any = AutoImageProcessor.from_pretrained(clip, backend="pil")
    for vector, picture in zip(embedder(PICTURES), PICTURES, strict=True):
        with torch.no_grad():
            pooled = model.vision_model(**processor([picture], return_tensors="pt")).pooler_output
            (plain,) = model.visual_projection(pooled)
        np.testing.assert_allclose(vector, (plain / plain.norm()).numpy(), atol=1e-5)


def test_clip_s_version_follows_from_the_half_that_looks(clip: Path, tmp_path: Path) -> None:
    version = ClipEmbedder(path=str(clip), batch_size=2, device="cpu").version
    found = {}
    for part in ("visual_projection", "text_projection"):
        (tmp_path / part).mkdir()
        change_weight(clip, tmp_path / part, part)
        found[part] = ClipEmbedder(path=str(tmp_path / part), batch_size=1, device="cpu").version
    assert found["text_projection"] == version
    assert found["visual_projection"] != version


def test_bad_settings_are_refused_at_once(tmp_path: Path, clip: Path) -> None:
    key = r"retrieval\.embedder\."
    with pytest.raises(ValueError, match=f"{key}path: there is no directory"):
        tower(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{key}path: there is no directory"):
        ClipEmbedder(path=str(tmp_path / "nowhere"), batch_size=1, device="cpu")
    with pytest.raises(ValueError, match=f"{key}path: .* has no config.json"):
        ClipEmbedder(path=str(tmp_path), batch_size=1, device="cpu")


def test_a_clip_that_is_no_clip_is_told_by_its_key(tmp_path: Path) -> None:
    folder = build_clip(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"retrieval\.embedder\.path: .* cannot be loaded"):
        ClipEmbedder(path=str(folder), batch_size=1, device="cpu")(PICTURES)
