from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.capscore import CapScore, num_right
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.toybox.world import BACKGROUNDS
from repic.types import Mention, Scene
from tests.scores import corpus, read_captions
from tests.unit.metrics.scenes import LOOKS

mentions = st.builds(Mention, LOOKS, st.sampled_from(["<bo>", "<mi>", None]))
scenes = st.builds(
    Scene,
    st.lists(mentions, min_size=1, max_size=4).map(tuple),
    st.sampled_from(BACKGROUNDS),
)


def metric() -> CapScore:
    return CapScore(parser=parse_caption, unread=unread_clauses)


def cell(*pairs: tuple[str, tuple[str, ...]]) -> dict[str, float]:
    return corpus(metric(), read_captions(*zip(*pairs, strict=True)))


# A red bear with a name on the left, a cat on the right, a meadow: 2 + 1 + 1 + 2 + 1 = 7 facts.
REFERENCES = (
    "A red bear, <bo>, sits on the left. A cat sits on the right.",
    "In a meadow, a red bear, <bo>, is on the left and a cat is on the right.",
)
BY_HAND = {
    # right, claims, (telling, fluent, new)
    "A red bear, <bo>, sits on the left.": (4, 4, (1, 1, 1)),
    "A cat sits on the right. A cat sits on the right.": (2, 4, (1, 11 / 12, 1 / 2)),
    "A blue bear, <bo>, sits on the left. How cosy!": (3, 5, (1 / 2, 7 / 10, 1)),
    "<mo> <bo>.": (0, 2, (0, 0, 1)),
    "A red bear, <bo>, sits on the left. <mo>.": (4, 5, (1 / 2, 7 / 9, 1)),  # <mo> is at no one
    "": (0, 0, (0, 0, 0)),
}


@pytest.mark.parametrize("caption", BY_HAND)
def test_columns_by_hand(caption: str) -> None:
    right, claims, parts = BY_HAND[caption]
    shares = [right / max(claims, 1), right / 7, sum(parts) / 3]
    harmonic = 3 / sum(1 / share for share in shares) if all(shares) else 0
    found = cell((caption, REFERENCES))
    assert list(found) == ["precision_claims", "recall_claims", "language", "b_capscore"]
    assert list(found.values()) == pytest.approx([100 * x for x in (*shares, harmonic)])


def test_the_set_has_the_harmonic_mean_of_its_means() -> None:
    whole, nothing = (REFERENCES[1], REFERENCES), ("", REFERENCES)
    assert cell(whole)["b_capscore"] == 100
    assert cell(whole, nothing)["b_capscore"] == 50
    assert cell(nothing)["b_capscore"] == 0


def test_what_the_grammar_cannot_read_is_not_judged() -> None:
    photo = ("A red bear on the left.", ("A red bear on the left looks happy.",))
    bare = ("A red bear on the left.", ())
    assert np.isnan(list(cell(photo, bare).values())).all()
    one = ("A red bear, <bo>.", REFERENCES)
    assert cell(one, photo, bare) == pytest.approx(cell(one))
    assert metric().missing() is None
    assert metric().statistics(read_captions([])).shape == (0, 4)


@given(scenes, scenes)
def test_columns_are_percentages_and_the_truth_has_them_all(said: Scene, truth: Scene) -> None:
    references = write_captions(truth)
    found = cell((write_captions(said)[4], references))
    assert all(0 <= value <= 100 for value in found.values())
    least, most = min(found.values()), max(found.values())
    assert least - 1e-9 <= found["b_capscore"] <= most + 1e-9
    perfect = cell((references[1], references))
    assert perfect["precision_claims"] == perfect["recall_claims"] == 100


@given(scenes, scenes)
def test_pairs_are_the_most_favourable_ones(said: Scene, truth: Scene) -> None:
    """Against every way to pair, one by one."""

    def facts(mention: Mention | None) -> set[tuple[str, str | None]]:
        return set() if mention is None else {*mention.attributes.items(), ("name", mention.name)}

    left = [*said.mentions, *[None] * len(truth.mentions)]
    best = max(
        sum(
            len({(k, v) for k, v in facts(a) & facts(b) if v})
            for a, b in zip(order, truth.mentions, strict=False)
        )
        for order in permutations(left, len(truth.mentions))
    )
    assert num_right(said, truth) == best + (said.background == truth.background)


@given(scenes)
def test_commentary_and_false_names_cost(truth: Scene) -> None:
    references = write_captions(truth)
    before = cell((references[4], references))
    talk = cell((f"{references[4]} This adds depth to the scene.", references))
    assert talk["precision_claims"] < before["precision_claims"]
    assert talk["language"] < before["language"]
    assert talk["recall_claims"] == before["recall_claims"]
    renamed = replace(
        truth, mentions=tuple(replace(m, name=m.name and "<zaza>") for m in truth.mentions)
    )
    if renamed != truth:
        false = cell((write_captions(renamed)[4], references))
        assert false["precision_claims"] < before["precision_claims"]
        assert false["recall_claims"] < before["recall_claims"]
