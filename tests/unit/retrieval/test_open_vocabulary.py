"""An open-vocabulary detector as a proposer: the best boxes of every kind, and no others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repic.retrieval.open_vocabulary import OpenVocabularyRegions
from tests.fakes import Noise
from tests.tiny_detectors import build_detector, load_detector

PICTURE = Noise(3, 50, 40).load()
KINDS = ["a red bear", "a cat"]


@pytest.fixture(scope="module", params=["owlvit", "grounding-dino"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_detector(tmp_path_factory.mktemp("detector"), kind=request.param)


def regions(folder: Path, **changes: Any) -> OpenVocabularyRegions:
    plain = {"threshold": 0.01, "kinds": None, "most": 1000, "device": "cpu"}
    return OpenVocabularyRegions(path=str(folder), **{**plain, **changes})


def loaded_regions(folder: Path, **changes: Any) -> OpenVocabularyRegions:
    """Some with a model that these tests share."""
    found = regions(folder, **changes)
    found._model = load_detector(folder)
    return found


def test_boxes_are_those_of_every_kind_above_the_threshold_best_first(folder: Path) -> None:
    found = load_detector(folder).boxes(PICTURE, KINDS)
    scores, corners = torch.cat([s for s, _ in found]), torch.cat([c for _, c in found])
    threshold = float(scores.median())
    expected = [
        tuple(corners[i].tolist())
        for i in sorted(range(len(scores)), key=lambda i: -scores[i].item())
        if scores[i] >= threshold
    ]
    assert 0 < len(expected) < len(scores)
    boxes = regions(folder, threshold=threshold)(PICTURE, KINDS)
    assert [tuple(box) for box in boxes] == expected
    assert loaded_regions(folder, threshold=threshold, most=2)(PICTURE, KINDS) == boxes[:2]
    for box in boxes:
        assert 0 <= box.x0 <= box.x1 <= 50
        assert 0 <= box.y0 <= box.y1 <= 40


def test_kinds_that_are_listed_win_and_each_is_asked_once(folder: Path) -> None:
    plain = loaded_regions(folder)(PICTURE, KINDS)
    assert loaded_regions(folder, kinds=KINDS)(PICTURE, ["something else"]) == plain
    assert loaded_regions(folder)(PICTURE, [KINDS[0], *KINDS]) == plain


def test_bad_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    key = r"retrieval\.proposer\."
    with pytest.raises(ValueError, match=f"{key}path: there is no directory"):
        regions(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{key}kinds: the album does not say"):
        regions(folder)(PICTURE, [])
