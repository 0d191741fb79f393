from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.dcscore import (
    DCScore,
    GrammarFacts,
    Trial,
    Verdict,
    precision_recall,
    trial_scores,
)
from repic.metrics.captions.metric import MetricFailed
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.types import Scene
from tests.properties import at_most
from tests.scores import column_scores, corpus, read_captions
from tests.unit.metrics.scenes import renamed, say, scenes

verdicts = st.lists(
    st.builds(Verdict, st.booleans(), st.booleans(), st.none() | st.integers(0, 3)), max_size=8
)


def metric() -> DCScore:
    source = GrammarFacts(parser=parse_caption, unread=unread_clauses)
    return DCScore(source="grammar", sources={"grammar": source})


def cell(*pairs: tuple[str, tuple[str, ...]]) -> dict[str, float]:
    return corpus(metric(), read_captions(*zip(*pairs, strict=True)))


def test_the_formula_by_hand() -> None:
    # Four facts. Two say oracle fact 0, one of them wrongly: 1/2. One is new. One is a remark.
    said = (
        Verdict(True, True, 0),
        Verdict(True, False, 0),
        Verdict(True, True, None),
        Verdict(False, False, None),
    )
    # All: P = 2/4, R = (1/2 + 1) / (3 + 1) = 3/8, F1 = 3/7.
    # Relevant: P = 2/3, R = 3/8, F1 = 12/25.
    assert precision_recall(said, 3) == (1 / 2, 3 / 8)
    assert precision_recall(said[:3], 3) == (2 / 3, 3 / 8)
    score, precision, recall = trial_scores(Trial(said, 3))
    assert (precision, recall) == (1 / 2, 3 / 8)
    assert score == pytest.approx((3 / 7 + 12 / 25) / 2)


def test_two_that_say_the_same_share_its_weight() -> None:
    twice = [Verdict(True, True, 0), Verdict(True, True, 0)]
    assert precision_recall(twice, 2) == (1, 1 / 2)
    assert precision_recall([], 2) == (0, 0)


@given(verdicts, st.integers(4, 6))
def test_scores_are_shares_and_improve_with_the_truth(said: list[Verdict], number: int) -> None:
    score, precision, recall = trial_scores(Trial(tuple(said), number))
    assert min(score, precision, recall) >= 0
    assert max(score, precision, recall) <= 1 + 1e-9
    for i, verdict in enumerate(said):
        better = [*said[:i], replace(verdict, is_right=True), *said[i + 1 :]]
        more, narrow = precision_recall(better, number), precision_recall(said, number)
        assert more[0] >= narrow[0]
        assert more[1] >= narrow[1] - 1e-9
    # A false remark costs; it costs nothing among the relevant facts.
    remark = (*said, Verdict(False, False, None))
    assert trial_scores(Trial(remark, number))[0] <= score
    relevant = [verdict for verdict in remark if verdict.is_relevant]
    assert relevant == [verdict for verdict in said if verdict.is_relevant]


# A red bear with a name on the left, a cat on the right, a meadow: 2 + 1 + 1 + 2 + 1 = 7 facts.
REFERENCES = (
    "A red bear, <bo>, sits on the left. A cat sits on the right.",
    "In a meadow, a red bear, <bo>, is on the left and a cat is on the right.",
)
BY_HAND = {
    # precision, recall, precision of what is relevant
    REFERENCES[1]: (1, 1, 1),
    "A red bear, <bo>, sits on the left.": (1, 4 / 7, 1),
    "A cat sits on the right. A cat sits on the right.": (1, 2 / 7, 1),
    "A blue bear, <bo>, sits on the left. How cosy!": (3 / 5, 3 / 7, 3 / 4),
    "<mo> <bo>.": (0, 0, 0),
    "": (0, 0, 0),
}


@pytest.mark.parametrize("caption", BY_HAND)
def test_columns_by_hand(caption: str) -> None:
    precision, recall, relevant = BY_HAND[caption]
    both = [2 * p * recall / (p + recall) if recall else 0.0 for p in (precision, relevant)]
    found = cell((caption, REFERENCES))
    assert list(found) == ["dcscore", "dcscore_precision", "dcscore_recall"]
    expected = (sum(both) / 2, precision, recall)
    assert list(found.values()) == pytest.approx([100 * value for value in expected])


@at_most(20)
@given(scenes(most=3))
def test_the_truth_has_100_and_what_is_false_or_missing_costs(scene: Scene) -> None:
    references = write_captions(scene)
    whole = cell((say(scene), references))["dcscore"]
    assert whole == pytest.approx(100)
    everybody = f"{say(scene)} <ka> <lo>."
    assert cell((everybody, references))["dcscore"] < whole
    if renamed(scene, "<ka>") != scene:
        assert cell((say(renamed(scene, "<ka>")), references))["dcscore"] < whole
    names = [mention.name for mention in scene.mentions]
    swapped = zip(scene.mentions, names[1:] + names[:1], strict=True)
    exchanged = Scene(tuple(replace(m, name=n) for m, n in swapped), scene.background)
    if exchanged != scene:
        assert cell((say(exchanged), references))["dcscore"] < whole


@at_most(10)
@given(scenes(most=2), st.randoms(use_true_random=False))
def test_the_more_is_left_out_the_lower_it_is(scene: Scene, random) -> None:
    references, before = write_captions(scene), 100 + 1e-9
    mentions = list(scene.mentions)
    while mentions:
        found = cell((say(Scene(tuple(mentions), None)), references))["dcscore"]
        assert found < before
        before = found
        i = random.randrange(len(mentions))
        droppable = [s for s in ("pattern", "colour", "position") if s in mentions[i].attributes]
        if droppable:
            slot = random.choice(droppable)
            kept = {s: v for s, v in mentions[i].attributes.items() if s != slot}
            mentions[i] = replace(mentions[i], attributes=kept)
        else:
            del mentions[i]
    assert cell(("", references))["dcscore"] == 0


def test_what_the_grammar_cannot_read_is_not_judged() -> None:
    photo = ("A red bear on the left.", ("A red bear on the left looks happy.",))
    one = ("A red bear, <bo>.", REFERENCES)
    assert cell(one, photo) == pytest.approx(cell(one))
    assert not metric().statistics(read_captions(*zip(photo, one, strict=True)))[0].any()
    with pytest.raises(MetricFailed, match="no caption has references that the grammar reads"):
        metric().statistics(read_captions([photo[0]], [photo[1]]))
    assert metric().statistics(read_captions([])).shape == (0, 6)
    assert metric().missing() is None


def test_captions_count_alike_and_a_source_has_to_be_known() -> None:
    whole, nothing = (REFERENCES[1], REFERENCES), ("", REFERENCES)
    assert cell(whole, nothing)["dcscore"] == pytest.approx(50)
    assert np.isnan(column_scores(metric(), np.zeros((1, 6)))["dcscore"]).all()
    with pytest.raises(ValueError, match=r"dcscore\.source: 'gpt' is not one of grammar"):
        DCScore(source="gpt", sources={"grammar": metric().source})
