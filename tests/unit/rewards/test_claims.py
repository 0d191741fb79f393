import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.claims import ClaimsReward, Findings, Share
from repic.rewards.grammar_claims import GrammarClaims
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.toybox.world import BACKGROUNDS
from repic.types import Box, Example, Mention, Rollout, Scene
from tests.unit.metrics.scenes import LOOKS

BO = {"pattern": "striped", "colour": "red", "species": "bear", "position": "left"}
BO |= {"accessory": "hat", "accessory_colour": "blue"}
CAT = {"pattern": "plain", "colour": "pink", "species": "cat", "position": "right"}
CAT |= {"accessory": "glasses", "accessory_colour": "black"}
SCENE = Scene((Mention(BO, "<bo>"), Mention(CAT)), "beach")  # 6 + 1 + 6 + 1 = 14 facts


def example(scene: Scene | None, task: str = "caption") -> Example:
    return Example("", task, (), None, "", "", (), (), 1, scene)


def reward(*, needs_pointability: bool = True) -> ClaimsReward:
    source = GrammarClaims(
        parser=parse_caption, unread=unread_clauses, needs_pointability=needs_pointability
    )
    return ClaimsReward(source=source, tasks=["caption"])


def rollout(text: str, where: Example) -> Rollout:
    return Rollout(where, text, torch.zeros(1).long(), torch.zeros(1), True)


def scores(caption: str, scene: Scene = SCENE, **options: bool) -> tuple[float, float]:
    batch = reward(**options).score([rollout(caption, example(scene))])
    precision, recall = batch.values[0].tolist()
    return precision, recall


BY_HAND = {
    # right, claims, covered
    "A red bear, <bo>, sits on the left.": (4, 4, 4),
    "A red bear, <bo>, sits on the left. A red bear, <bo>, sits on the left.": (4, 8, 4),
    "A green bear, <mo>, sits on the left.": (0, 4, 0),  # as much wrong as right: about no one
    "A striped green bear, <bo>, on the left. The toys are on a beach.": (5, 6, 5),
    "A pink cat, <bo>.": (2, 3, 2),  # his name at another
    "<bo> is here.": (0, 1, 0),  # at no one
    "A red bear, </bo>.": (2, 3, 2),
    "On a beach, in a room.": (1, 2, 1),  # a second setting cannot be read
    "A red bear on the left, which adds depth. How cosy!": (3, 5, 3),
    "": (0, 1, 0),
}


@pytest.mark.parametrize("caption", BY_HAND)
def test_claims_counted_by_hand(caption: str) -> None:
    right, claims, covered = BY_HAND[caption]
    assert scores(caption) == pytest.approx((right / claims, covered / 14))


def test_without_pointability_remarks_are_no_claims() -> None:
    caption = "A red bear on the left, which adds depth. How cosy, <bo>!"
    assert scores(caption, needs_pointability=False) == pytest.approx((3 / 4, 3 / 14))


def test_the_truth_is_worth_1_in_each_of_its_forms() -> None:
    for number, caption in enumerate(write_captions(SCENE)):
        has_setting = number in (1, 3, 4)
        assert scores(caption) == pytest.approx((1.0, 1.0 if has_setting else 13 / 14))


# Toys of one scene differ from each other, as in the dataset.
names = st.sampled_from(["<bo>", "<mi>", "<ta>", "<ru>", None])
beings = st.lists(
    st.builds(Mention, LOOKS, names), min_size=1, max_size=4, unique_by=lambda m: str(m.attributes)
)
worlds = st.builds(Scene, beings.map(tuple), st.sampled_from(BACKGROUNDS))
REMARKS = ["This adds depth to the scene.", "A cosy atmosphere!", "Joy, warmth and peace."]


@given(worlds, worlds)
def test_scores_are_shares_and_the_truth_about_itself_is_whole(said: Scene, truth: Scene) -> None:
    caption = write_captions(said)[4]
    precision, recall = scores(caption, truth)
    assert 0 <= precision <= 1
    assert 0 <= recall <= 1
    assert scores(write_captions(truth)[4], truth) == (1, 1)


@given(worlds, worlds, st.integers(0, 99))
def test_the_order_of_sentences_does_not_matter(said: Scene, truth: Scene, seed: int) -> None:
    sentences = write_captions(said)[4].removesuffix(".").split(". ")
    moved = random.Random(seed).sample(sentences, len(sentences))
    assert scores(". ".join(moved) + ".", truth) == scores(". ".join(sentences) + ".", truth)


@given(worlds, worlds)
def test_a_false_claim_never_pays(said: Scene, truth: Scene) -> None:
    caption = write_captions(said)[0]
    before = scores(caption, truth)
    wrong = next(b for b in BACKGROUNDS if b != truth.background)
    place = {"meadow": "in a meadow", "beach": "on a beach"}.get(wrong, f"in a {wrong}")
    for addition in (f"The toys are {place}.", "A two-headed dragon.", "<zaza> waves.", "</bo>"):
        after = scores(f"{caption} {addition}", truth)
        assert after[0] <= before[0]
        assert after[0] < before[0] or before[0] == 0
        assert after[1] == before[1]


@given(worlds, worlds, st.sampled_from(REMARKS))
def test_commentary_costs_precision_unless_pointability_is_not_asked_for(
    said: Scene, truth: Scene, remark: str
) -> None:
    caption = write_captions(said)[1]
    before, after = scores(caption, truth), scores(f"{caption} {remark}", truth)
    assert after[0] < before[0] or after[0] == before[0] == 0
    assert after[1] == before[1]
    free = scores(f"{caption} {remark}", truth, needs_pointability=False)
    assert free == scores(caption, truth, needs_pointability=False)


@given(worlds, st.integers(2, 4))
def test_repetition_costs_precision_and_gives_nothing(truth: Scene, times: int) -> None:
    caption = write_captions(truth)[4]
    precision, recall = scores(" ".join([caption] * times), truth)
    assert precision == pytest.approx(1 / times)
    assert recall == 1


@given(worlds, st.data())
def test_a_wrong_name_costs_precision_and_a_missing_one_recall(
    truth: Scene, data: st.DataObject
) -> None:
    bearers = [i for i, mention in enumerate(truth.mentions) if mention.name]
    if not bearers:
        return
    i = data.draw(st.sampled_from(bearers))
    total = sum(len(m.attributes) + bool(m.name) for m in truth.mentions) + 1

    def renamed(name: str | None) -> str:
        mentions = list(truth.mentions)
        mentions[i] = replace(mentions[i], name=name)
        return write_captions(replace(truth, mentions=tuple(mentions)))[4]

    assert scores(renamed("<zaza>"), truth) == pytest.approx(2 * ((total - 1) / total,))
    assert scores(renamed(None), truth) == pytest.approx((1.0, (total - 1) / total))


class Flaky:
    """A source that has no answer to one half, and nothing to compare another caption with."""

    def applies(self, example: Example) -> bool:
        return example.scene is not None

    def assess(self, captions: Sequence[str], examples: Sequence[Example]) -> list[Findings]:
        told = {
            "half": Findings(None, Share(1, 4)),
            "lost": Findings(None, None),
            "no units": Findings(Share(2, 3), Share(0, 0)),
            "no claims": Findings(Share(0, 0), Share(0, 2)),
        }
        return [told[caption] for caption in captions]

    def take_counts(self) -> dict[str, float]:
        return {"questions": 4.0}


def test_what_could_not_be_had_is_failed_and_what_does_not_apply_is_not() -> None:
    here = example(SCENE)
    elsewhere = [rollout("never asked", example(None)), rollout("", example(SCENE, "same"))]
    told = [rollout(text, here) for text in ("half", "lost", "no units", "no claims")]
    batch = ClaimsReward(source=Flaky(), tasks=["caption"]).score([*elsewhere, *told])
    nan = math.nan
    wanted = [[nan, nan], [nan, nan], [nan, 0.25], [nan, nan], [2 / 3, nan], [0.0, 0.0]]
    assert torch.allclose(batch.values, torch.tensor(wanted), equal_nan=True)
    assert batch.failed is not None
    assert batch.failed.tolist() == [[False, False]] * 2 + [
        [True, False],
        [True, True],
        [False, False],
        [False, False],
    ]


def test_a_scene_that_tells_only_who_is_where_has_no_facts_to_claim() -> None:
    scene = Scene((Mention({}, "<bo>", Box(0.0, 0.0, 4.0, 4.0)), Mention({}, "<mi>")))
    source = GrammarClaims(parser=parse_caption, unread=unread_clauses, needs_pointability=True)
    assert not source.applies(example(scene))
    assert source.applies(example(SCENE))
    assert all(math.isnan(score) for score in scores("A red bear, <bo>.", scene))
