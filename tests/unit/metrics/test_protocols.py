import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.cider import words
from repic.metrics.paper_names import VARIANTS
from repic.metrics.protocols import (
    caption_metrics,
    caption_statistics,
    cluster_of,
    protocol_cells,
)
from repic.metrics.rescoring import CaptionRecord, KnownNames, score_captions
from repic.metrics.suite import MetricSuite
from repic.types import Prediction
from tests.properties import at_most

POOL = ("<momi>", "<tavo>", "<black widow>")


def prediction(i: int, caption: str, *present: str, image: str | None = None) -> Prediction:
    return Prediction(
        id=f"scene/{i}",
        phase="sft",
        task="caption",
        num_concepts=len(present),
        prompt="",
        images=(image or f"{len(present)}/{i}",),
        caption=caption,
        answers=(f"{' and '.join(present)} in room {i}", "a red bear"),
        present=present,
        pool=POOL,
    )


CAPTIONS = [
    prediction(0, "<momi> waves at tavo", "<momi>"),  # paper: right; robust: one too many
    prediction(1, "black widow", "<black widow>"),  # paper: two tokens are never found
    prediction(2, "<tavo>", "<momi>"),  # wrong by both
    prediction(3, "nobody", "<tavo>"),
    prediction(4, "<momi>, <tavo>, <black widow>", "<momi>", "<tavo>"),  # names everybody
]


def test_both_protocols_worked_by_hand() -> None:
    cells = protocol_cells(CAPTIONS, num_samples=50, confidence=0.95, seed=0)
    assert list(cells) == ["1", "2", "all"]
    by_hand = {
        # hits, false, missed
        "1": {"paper": (1, 1, 3), "robust": (2, 2, 2)},
        "2": {"paper": (2, 0, 0), "robust": (2, 1, 0)},
        "all": {"paper": (3, 1, 3), "robust": (4, 3, 2)},
    }
    for count, protocols in by_hand.items():
        for protocol, (hits, false, missed) in protocols.items():
            cell = cells[count]
            assert cell[f"{protocol}_precision"] == pytest.approx(100 * hits / (hits + false))
            assert cell[f"{protocol}_recall"] == pytest.approx(100 * hits / (hits + missed))
            f1 = 200 * hits / (2 * hits + false + missed)
            assert cell[f"{protocol}_f1"] == pytest.approx(f1)
    low, high = cells["1"]["robust_f1_ci"]
    assert low < cells["1"]["robust_f1"] < high
    assert protocol_cells([], num_samples=50, confidence=0.95, seed=0) == {}


@pytest.mark.parametrize("protocol", ["paper", "robust"])
def test_one_number_of_concepts_is_what_rescoring_its_file_gives(protocol: str) -> None:
    """Values and intervals of ``+experiment=rescore``, which counts captions of files."""
    group = CAPTIONS[:4]
    records = [CaptionRecord(p.id, p.images[-1], p.present, p.caption, pool=p.pool) for p in group]
    theirs = score_captions(
        records,
        protocol=protocol,
        variant=VARIANTS["single"],
        known=KnownNames(),
        num_samples=50,
        confidence=0.95,
        seed=0,
        cider=np.full(4, math.nan),
    )
    (ours, _) = protocol_cells(group, num_samples=50, confidence=0.95, seed=0).values()
    for name in ("precision", "recall", "f1"):
        assert ours[f"{protocol}_{name}"] == theirs.values[name]
        assert ours[f"{protocol}_{name}_ci"] == list(theirs.intervals[name])


def test_captions_of_one_picture_are_drawn_together() -> None:
    apart = [prediction(i, "<momi>" if i % 2 else "x", "<momi>") for i in range(8)]
    together = [replace(p, images=(f"{i // 4}",)) for i, p in enumerate(apart)]
    draws = {"num_samples": 200, "confidence": 0.95, "seed": 0}
    low, high = protocol_cells(apart, **draws)["1"]["robust_recall_ci"]
    assert low < 50 < high
    # Both pictures have two right captions of four: whichever is drawn, it is a half.
    assert protocol_cells(together, **draws)["1"]["robust_recall_ci"] == [50, 50]
    assert cluster_of(replace(apart[3], images=())) == "1/scene/3"


def test_who_was_not_introduced_can_be_named_all_the_same() -> None:
    """A retriever may miss somebody who is there."""
    missed = replace(prediction(0, "momi waves", "<momi>"), pool=("<tavo>",))
    cell = protocol_cells([missed], num_samples=0, confidence=0.95, seed=0)["all"]
    assert (cell["robust_recall"], cell["robust_precision"]) == (100, 100)


texts = st.lists(
    st.sampled_from(["<momi>", "tavo", "a red bear", "<black widow>", "in room 1", "and"]),
    max_size=5,
).map(" ".join)


@at_most(20)
@given(st.lists(texts, min_size=4, max_size=4))
def test_statistics_add_up_to_what_an_evaluation_says(captions: list[str]) -> None:
    found = [
        prediction(i, caption, *(POOL[:1] if i < 2 else POOL[:2]))
        for i, caption in enumerate(captions)
    ]
    suite = MetricSuite(
        counts=[1, 2], captions=[], tokenizer="words", scorers={}, bootstrap_samples=0,
        confidence=0.95, seed=0,
    )  # fmt: skip
    names = protocol_cells(found, num_samples=0, confidence=0.95, seed=0)
    rows = caption_statistics(found, tokenizer=words)
    for count, cell in suite(found).items():
        mask = [count in ("all", str(p.num_concepts)) for p in found]
        now = caption_metrics(rows[mask].sum(axis=0, keepdims=True))
        for name, value in {**cell, **names[count]}.items():
            if name != "num_examples":
                assert now[name].item() == pytest.approx(value, abs=1e-6)


def test_a_single_caption_has_no_cider() -> None:
    (row,) = caption_statistics(CAPTIONS[4:], tokenizer=words)
    assert math.isnan(caption_metrics(row[None])["cider"].item())
