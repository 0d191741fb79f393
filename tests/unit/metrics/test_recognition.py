import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.recognition import NameRecognition, count_names, name_recognition

POOL = ["<momi>", "<tavo>", "<lidu>"]

# Worked by hand: 4 captions.
#   exact  hits false missed
#   1      2    0     0       both present and said
#   0      1    0     1       one left out
#   0      1    2     0       an absent one and an invention too many
#   0      0    1     1       the wrong one
PREDS = ["<momi> and tavo", "momi", "<lidu>, <momi>, <zaza>", "<lidu>"]
TARGETS = [["<momi>", "<tavo>"], ["<momi>", "<tavo>"], ["<lidu>"], ["<tavo>"]]
BY_HAND = {
    "accuracy": 100 * 1 / 4,
    "precision": 100 * 4 / 7,
    "recall": 100 * 4 / 6,
    "f1": 100 * 8 / (8 + 3 + 2),
}


def as_floats(scores: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in scores.items()}


def test_counts_worked_by_hand() -> None:
    pairs = zip(PREDS, TARGETS, strict=True)
    assert [tuple(count_names(pred, target, POOL)) for pred, target in pairs] == [
        (1, 2, 0, 0),
        (0, 1, 0, 1),
        (0, 1, 2, 0),
        (0, 0, 1, 1),
    ]


def test_scores_worked_by_hand() -> None:
    assert as_floats(name_recognition(PREDS, TARGETS, [POOL] * 4)) == pytest.approx(BY_HAND)


def test_batches_add_up_to_the_whole() -> None:
    metric = NameRecognition()
    for pred, target in zip(PREDS, TARGETS, strict=True):
        metric.update([pred], [target], [POOL])
    assert as_floats(metric.compute()) == pytest.approx(BY_HAND)
    metric.reset()
    metric.update(PREDS[:1], TARGETS[:1], [POOL])
    assert as_floats(metric.compute())["accuracy"] == 100


def test_processes_add_up_to_the_whole() -> None:
    parts = [NameRecognition(), NameRecognition()]
    parts[0].update(PREDS[:1], TARGETS[:1], [POOL])
    parts[1].update(PREDS[1:], TARGETS[1:], [POOL] * 3)
    merged = NameRecognition()
    for name, how in merged._reductions.items():
        setattr(merged, name, how(torch.stack([getattr(part, name) for part in parts])))
    merged._update_count = 1
    assert as_floats(merged.compute()) == pytest.approx(BY_HAND)


def test_naming_nobody_and_naming_everybody() -> None:
    nobody = as_floats(name_recognition(["a bear"], [["<momi>"]], [POOL]))
    assert nobody == {"accuracy": 0, "precision": 0, "recall": 0, "f1": 0}
    everybody = as_floats(name_recognition([" ".join(POOL)], [["<momi>"]], [POOL]))
    assert everybody == pytest.approx(
        {"accuracy": 0, "precision": 100 / 3, "recall": 100, "f1": 50}
    )


def test_saying_nobody_is_right_when_nobody_is_there() -> None:
    assert as_floats(name_recognition(["a bear"], [[]], [POOL]))["accuracy"] == 100


def test_no_captions_give_nan() -> None:
    assert all(math.isnan(v) for v in as_floats(name_recognition([], [], [])).values())


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="<nobody>"):
        count_names("x", ["<nobody>"], POOL)
    with pytest.raises(ValueError, match="2 captions, 1 targets and 1 pools"):
        name_recognition(["x", "y"], [[]], [POOL])


@given(st.lists(st.tuples(st.sets(st.sampled_from(POOL)), st.sets(st.sampled_from(POOL)))))
def test_agrees_with_counting_sets(cases: list[tuple[set[str], set[str]]]) -> None:
    preds = [", ".join(sorted(said)) for said, _ in cases]
    scores = as_floats(name_recognition(preds, [p for _, p in cases], [POOL] * len(cases)))
    if cases:
        right = sum(said == present for said, present in cases)
        assert scores["accuracy"] == pytest.approx(100 * right / len(cases))
        assert (scores["f1"] > 0) == any(said & present for said, present in cases)
    p, r = scores["precision"], scores["recall"]
    if p and r and cases:
        assert scores["f1"] == pytest.approx(2 * p * r / (p + r))


@given(st.integers(0, 10_000))
def test_order_of_captions_does_not_matter(seed: int) -> None:
    order = random.Random(seed).sample(range(4), 4)
    shuffled = name_recognition([PREDS[i] for i in order], [TARGETS[i] for i in order], [POOL] * 4)
    assert as_floats(shuffled) == pytest.approx(BY_HAND)
