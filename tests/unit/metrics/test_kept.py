"""What was measured of each caption, written and read back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repic.metrics.captions.bleu import Bleu, bleu_scores
from repic.metrics.captions.diversity import SelfBleu
from repic.metrics.captions.metric import means
from repic.metrics.captions.scorer import CaptionScorer
from repic.metrics.column import ScoreColumn
from repic.metrics.kept import FILE, CaptionScores, Measured, read_scores, write_scores
from tests.scores import read_captions

TEXTS = ["a red bear sits", "a blue cat", "two grey owls"]


def scores(**more: Measured) -> CaptionScores:
    found = CaptionScorer(
        chosen=["bleu", "self_bleu"],
        scorers={"bleu": Bleu(), "self_bleu": SelfBleu()},
        tokenizer="words",
    )
    captions = read_captions(TEXTS, [[text] for text in TEXTS])
    parts = {"names": np.array([1.0, 0.5, np.nan])}
    keys = (("test/ä", 1), ("test/2", 1), ("test/3", 3))
    return CaptionScores(keys, ("p", "p", "q"), {**found.measure(captions), **more}, parts)


def as_lists(found: CaptionScores) -> object:
    metrics = {n: (m.columns, m.rows.tolist(), m.values) for n, m in found.metrics.items()}
    rewards = {name: repr(values.tolist()) for name, values in found.rewards.items()}
    return found.keys, found.pictures, metrics, rewards


def test_what_is_written_is_read(tmp_path: Path) -> None:
    both = {"sft": scores(), "grpo": scores().take([2, 0])}
    write_scores(tmp_path / FILE, both)
    found = read_scores(tmp_path)
    assert list(found) == ["sft", "grpo"]
    for phase, expected in both.items():
        assert as_lists(found[phase]) == as_lists(expected)
    assert found["sft"].metrics["bleu"].values is bleu_scores
    assert found["sft"].metrics["self_bleu"].is_of_the_whole
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with np.load(tmp_path / FILE, allow_pickle=False) as arrays:
        assert all(array.dtype != object for array in arrays.values())


def test_a_metric_that_was_left_out_of_a_phase_is_not_there(tmp_path: Path) -> None:
    lacking = replace(scores(), metrics={"bleu": scores().metrics["bleu"]}, rewards={})
    write_scores(tmp_path / FILE, {"sft": scores(), "grpo": lacking})
    found = read_scores(tmp_path)
    assert list(found["sft"].metrics) == ["bleu", "self_bleu"]
    assert list(found["grpo"].metrics) == ["bleu"]
    assert np.isnan(found["grpo"].rewards["names"]).all()


def outside(sums: np.ndarray) -> np.ndarray:
    return means(sums)


def test_a_file_does_not_say_what_is_run(tmp_path: Path) -> None:
    """Functions are looked up among the package's metrics; others' statistics are kept as well."""
    rows = np.ones((3, 2))
    own = Measured((ScoreColumn("charm", "charm"),), rows, outside)
    write_scores(tmp_path / FILE, {"sft": scores(charm=own)})
    charm = read_scores(tmp_path)["sft"].metrics["charm"]
    assert charm.values is None
    assert charm.rows.tolist() == rows.tolist()


def test_what_is_wrong_with_a_file_is_told_with_its_mend(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with pytest.raises(ValueError, match=r"there is no scores.npz.*delete summary.json, and start"):
        read_scores(tmp_path)
    write_scores(path, {"sft": scores()})
    whole = path.read_bytes()
    mend = "delete it and summary.json, and start the run's command again"
    for content in (whole[: len(whole) // 2], whole[:-30], b"", b"captions", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"scores.npz: .*{mend}"):
            read_scores(tmp_path)
    with path.open("wb") as file:  # somebody else's arrays
        np.savez(file, weights=np.ones(3))
    with pytest.raises(ValueError, match=rf"holds other scores than this release .*{mend}"):
        read_scores(tmp_path)
    with path.open("wb") as file:
        np.savez(file, phase=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=mend):
        read_scores(tmp_path)
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=mend):
        read_scores(tmp_path)
