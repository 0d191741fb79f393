"""CoViP's reward: by hand, by properties, and against the formula written down once more."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.covip import (
    CANNOT,
    CovipReward,
    FriendQuestion,
    GrammarListener,
    JudgedListener,
    friend_questions,
    repeats_itself,
    worth,
)
from repic.rewards.rubric import Rubric
from repic.toybox.cells import SLOT_VALUES
from repic.toybox.grammar import parse_caption
from repic.types import Example, Mention, Reference, Scene
from tests.properties import at_most
from tests.unit.rewards.test_claims import rollout

HONEST = "A red bear, <bo>, is on the left. A blue cat, <mi>, is on the right. A green pig."
SCENE = Scene(
    (
        Mention({"colour": "red", "species": "bear", "position": "left"}, "<bo>"),
        Mention({"colour": "blue", "species": "cat", "position": "right"}, "<mi>"),
        Mention({"colour": "green", "species": "pig", "position": "middle"}),
    ),
    "beach",
)


def example(**changes: object) -> Example:
    references = tuple(Reference(name, "a toy", None) for name in ("<mi>", "<bo>", "<ti>"))
    made = Example("a", "caption", references, None, "", "", (), ("<bo>", "<mi>"), 2, SCENE)
    return replace(made, **changes)


class Silent(GrammarListener):
    """Has no answer to what is asked about some caption."""

    def answers(self, asked):
        return [None if "blue" in text else CANNOT for text, _ in asked]


def reward(listener: object = None, **changes: object) -> CovipReward:
    sources = {"grammar": listener or GrammarListener(parser=parse_caption)}
    settings = dict(values=SLOT_VALUES, each=3, most_tokens=40, source="grammar")
    return CovipReward(**{**settings, "sources": sources, "tasks": ["caption"], **changes})


def score(caption: str, **changes: object) -> float:
    return reward().score([rollout(caption, example(**changes))]).values.item()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (HONEST, 2),  # three right of each of two
        ("", 0),
        ("Here are <bo>, <mi> and <ti>.", 0),
        ("A red bear, <bo>, is on the left.", 1),
        ("A red bear, <bo>.", 2 / 3),
        ("A red cat, <bo>, is on the left.", 2 / 3),  # a wrong species
        ("A red bear, <bo>. A blue bear, <bo>.", 1 / 3),  # two colours are none
        (f"{HONEST} A pink dog, <ti>.", 2 - 2 / 3),  # two of three questions about who is absent
        ("A pink dog, <ti>, is on the left.", -1),
        (f"{HONEST} " * 3, -1),
    ],
)
def test_by_hand(caption: str, expected: float) -> None:
    assert score(caption) == pytest.approx(expected)


def test_a_caption_that_is_too_long_gets_the_least() -> None:
    long = replace(rollout(HONEST, example()), completion_ids=torch.zeros(41, dtype=torch.long))
    fits = replace(long, completion_ids=torch.zeros(40, dtype=torch.long))
    assert reward().score([long, fits]).values[:, 0].tolist() == [-1, 2]


def test_the_published_limits_of_repetition() -> None:
    assert not repeats_itself(HONEST)
    assert not repeats_itself("So. So. So.")  # three sentences
    assert repeats_itself("So. So. So. No.")
    assert repeats_itself("One. Two. A cat sits. A cat sits. A cat sits.")  # 2 of 5
    assert not repeats_itself("One. Two. Three. A cat sits. A cat sits.")  # 1 of 5
    run = "a b c d e"
    assert not repeats_itself(f"{run} {run} a")  # 2 of 7 runs of five words
    assert repeats_itself(f"{run} {run} a b")  # 3 of 8
    words = " ".join(f"w{i}" for i in range(40))
    piece = " ".join(f"w{i}" for i in range(10))
    assert not repeats_itself(words)
    assert repeats_itself(f"{words} {piece}")  # 1 of 5 pieces of ten words
    assert not repeats_itself(f"{words} {' '.join(f'v{i}' for i in range(20))} {piece}")  # 1 of 7


def test_where_it_applies_follows_from_the_example() -> None:
    assert torch.isnan(torch.tensor(score(HONEST, task="locate")))
    assert torch.isnan(torch.tensor(score("", scene=None)))
    nobody = example(references=(), present=(), scene=Scene(SCENE.mentions[2:], "beach"))
    assert reward().score([rollout("", nobody)]).values.isnan().all()


def test_without_an_answer_the_component_has_failed_for_that_caption_alone() -> None:
    asked = [rollout(text, example()) for text in ("A blue cat, <mi>.", "A red bear, <bo>.")]
    batch = reward(Silent(parser=parse_caption)).score(asked)
    assert batch.failed is not None
    assert batch.failed[:, 0].tolist() == [True, False]
    assert batch.values.isnan()[:, 0].tolist() == [True, False]
    with pytest.raises(ValueError, match="source=judge asks a model: choose judge=openai"):
        reward(JudgedListener(judge=None)).score(asked)
    with pytest.raises(ValueError, match=r"covip.source: 'model' is not one of grammar"):
        reward(source="model")
    assert Rubric({"covip": reward()}, {"covip": 1.0}).names == ("covip",)


answers = st.lists(
    st.tuples(st.sampled_from(["red", "blue", None]), st.sampled_from(["red", "blue", CANNOT])),
    max_size=12,
)


@at_most(60)
@given(answers)
def test_the_formula_once_more(pairs: list[tuple[str | None, str]]) -> None:
    asked = [(FriendQuestion("<a>", "colour", ("red", "blue"), r), a) for r, a in pairs]
    expected = sum(1 / 3 for right, answer in pairs if right == answer)
    absent = [answer for right, answer in pairs if right is None]
    expected -= sum(1 / len(absent) for answer in absent if answer != CANNOT)
    assert worth(asked, 3) == pytest.approx(expected)


def test_questions_are_the_same_for_all_captions_and_three_for_each_friend() -> None:
    found = friend_questions(example(), SLOT_VALUES, 3)
    assert found == friend_questions(example(), SLOT_VALUES, 3)
    assert [question.name for question in found] == ["<bo>"] * 3 + ["<mi>"] * 3 + ["<ti>"] * 3
    assert {q.right for q in found[:3]} == {"red", "bear", "left"}
    assert {q.right for q in found[6:]} == {None}
