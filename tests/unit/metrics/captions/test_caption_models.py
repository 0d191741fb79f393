"""BERTScore and CLIPScore with random models of two layers, kept in a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
)

from repic.metrics.captions.bert_score import BertScore
from repic.metrics.captions.clip_score import ClipScore
from repic.metrics.captions.metric import Captions, MetricFailed
from tests.fakes import Noise
from tests.scores import read_captions

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h i j k".split()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.5, **SMALL
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=38)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    marks = [chr(i) + end for i in range(33, 127) for end in ("", "</w>")]
    vocabulary = {mark: i for i, mark in enumerate([*marks, "<|startoftext|>", "<|endoftext|>"])}
    start, end = len(marks), len(marks) + 1
    torch.manual_seed(1)
    config = CLIPConfig(
        text_config={
            **SMALL,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 30,
            "bos_token_id": start,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={**SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=16,
        initializer_factor=20.0,
    )
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    tokenizer = CLIPTokenizerFast(vocab=vocabulary, merges=[])
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


TEXTS = ["a b c d", "a", "", "d e f g h", "b " * 60, "k j i", "  a\n"]
REFERENCES = [["a b", "e"], ["c"], ["a"], ["d e f"], ["b"], [], ["a"]]


def read(texts=TEXTS, references=REFERENCES, images=None) -> Captions:
    return read_captions(texts, references, images=images)


def bert_by_hand(folder: Path, text: str, references: list[str], layer: int) -> float:
    """One text at a time, and the formula as it stands in the paper, with loops."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def vectors(text: str) -> np.ndarray:
        ids = tokenizer(text.strip(), truncation=True, max_length=38, return_tensors="pt")
        with torch.no_grad():
            states = model(**ids, output_hidden_states=True).hidden_states[layer][0].numpy()
        return states / np.linalg.norm(states, axis=1, keepdims=True)

    best = -1.0
    for reference in references:
        x, y = vectors(text), vectors(reference)
        if len(x) == 2 or len(y) == 2:
            best = max(best, 0.0)
            continue
        precision = np.mean([max(a @ b for b in y) for a in x[1:-1]])
        recall = np.mean([max(a @ b for b in x) for a in y[1:-1]])
        best = max(best, 2 * precision * recall / (precision + recall))
    return 100 * best


@pytest.mark.parametrize("layer", [1, 2])
def test_bert_score_is_the_papers(bert: Path, layer: int) -> None:
    rows = BertScore(path=str(bert), layer=layer, batch_size=3).statistics(read())
    for text, group, row in zip(TEXTS, REFERENCES, rows, strict=True):
        if group:
            assert row.tolist() == [
                pytest.approx(bert_by_hand(bert, text, group, layer), abs=1e-3),
                1,
            ]
        else:
            assert row.tolist() == [0, 0]
    assert np.ptp(rows[:, 0]) > 1


def test_no_caption_moves_another(bert: Path, clip: Path) -> None:
    """Texts are sorted by length on their way through the model."""
    metric = BertScore(path=str(bert), layer=2, batch_size=2)
    together = metric.statistics(read())
    alone = [metric.statistics(read([t], [r]))[0] for t, r in zip(TEXTS, REFERENCES, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    images = [Noise(seed % 3) for seed in range(len(TEXTS))]
    metric = ClipScore(path=str(clip), weight=2.5, prefix="see ", batch_size=2)
    together = metric.statistics(read(images=images))
    alone = [
        metric.statistics(read([t], [r], [i]))[0]
        for t, r, i in zip(TEXTS, REFERENCES, images, strict=True)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_clip_score_is_the_papers(clip: Path) -> None:
    images = [Noise(seed) for seed in range(len(TEXTS))]
    metric = ClipScore(path=str(clip), weight=2.5, prefix="see ", batch_size=3)
    rows = metric.statistics(read(images=images))
    processor = CLIPProcessor.from_pretrained(clip)
    model = CLIPModel.from_pretrained(clip).eval()

    def vector(text: str | None, image: Noise | None) -> np.ndarray:
        with torch.no_grad():
            if image is not None:
                given = processor.image_processor(image.load(), return_tensors="pt")
                found = model.vision_model(**given).pooler_output
                found = model.visual_projection(found)[0].numpy()
            else:
                ids = processor.tokenizer(text, truncation=True, max_length=30, return_tensors="pt")
                found = model.text_model(**ids).pooler_output
                found = model.text_projection(found)[0].numpy()
        return found / np.linalg.norm(found)

    for text, group, image, row in zip(TEXTS, REFERENCES, images, rows, strict=True):
        caption = vector(f"see {text}", None)
        score = 2.5 * max(caption @ vector(None, image), 0)
        assert row[:2].tolist() == [pytest.approx(100 * score, abs=1e-3), 1]
        if group:
            best = max(max(caption @ vector(f"see {other}", None), 0) for other in group)
            both = 2 * score * best / (score + best) if score + best else 0
            assert row[2:].tolist() == [pytest.approx(100 * both, abs=1e-3), 1]
        else:
            assert row[2:].tolist() == [0, 0]
    assert (rows[:, 0] == 0).any()  # a negative cosine
    assert (rows[:, 0] > 0).any()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for metric, key, example in (
        (BertScore(path=None, layer=1, batch_size=1), "bert_score", "roberta-large"),
        (
            ClipScore(path=None, weight=1.0, prefix="", batch_size=1),
            "clip_score",
            "openai/clip-vit-base-patch32",
        ),
    ):
        expected = f"set metrics.scorers.{key}.path to a local copy of {example}"
        assert metric.missing() == expected
        metric.path = str(tmp_path / "none")
        assert "there is no directory" in str(metric.missing())
        metric.path = str(tmp_path)
        assert "has no config.json" in str(metric.missing())
    (tmp_path / "config.json").write_text("{}")
    assert "has no weights" in str(metric.missing())
    (tmp_path / "model.safetensors").touch()
    assert metric.missing() is None
    with pytest.raises(MetricFailed, match="cannot be loaded"):
        metric.statistics(read(images=[Noise(0)] * len(TEXTS)))


def test_a_layer_that_is_not_there_and_pictures_that_are_not(bert: Path, clip: Path) -> None:
    with pytest.raises(ValueError, match="layer: 3 is not from 0 to 2"):
        BertScore(path=str(bert), layer=3, batch_size=1).statistics(read())
    with pytest.raises(MetricFailed, match="pictures are not at hand"):
        ClipScore(path=str(clip), weight=1.0, prefix="", batch_size=1).statistics(read())


def test_a_library_that_fails_without_a_word_is_told_by_its_error(
    bert: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    metrics = {
        "bert_score": BertScore(path=str(bert), layer=1, batch_size=1),
        "clip_score": ClipScore(path=str(clip), weight=1.0, prefix="", batch_size=1),
    }
    for name, metric in metrics.items():
        monkeypatch.setattr(f"repic.metrics.captions.{name}.load_whole", fail)
        with pytest.raises(MetricFailed, match=r"cannot be loaded \(OSError\)"):
            metric.statistics(read(images=[Noise(0)] * len(TEXTS)))
