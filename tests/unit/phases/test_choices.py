"""How answers to questions with options count, by hand and by another judge; and the controls."""

import random
import re
from dataclasses import dataclass

import pytest
from PIL import Image

from repic.captioners.captioner import Caption, Cost, Enrolled
from repic.parsing import LETTERS, find_choice, with_options
from repic.phases.choices import (
    ChoiceQuestions,
    controlled,
    guessing,
    knowing,
    right_choices,
    with_anothers,
)
from repic.tables.layouts import CONTROLS
from repic.types import Choice, Example, Friend, Reference
from tests.unit.captioners.test_friends import Learner

OPTIONS = ("a red hat", "a hat", "a bow", "glasses")


class TestFindChoice:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            *(("B", 1), ("b.", 1), ("(C)", 2), (" D ", 3), ("**A**", 0), ("C) a bow", 2)),
            *(("B: cannot tell", 1), ("Answer: D", 3), ("The answer is A.", 0)),
            *(("A red hat.", 0), ("It is A HAT", 1), ("<bo> wears  a bow, I think", 2)),
            *(("A bear", None), ("", None), ("E", None), ("a hat or a bow", None)),
            *(("a bowl", None), ("Yes", None), ("I do not know. Glasses?", 3), ("ı", None)),
        ],
    )
    def test_by_hand(self, text: str, place: int | None) -> None:
        assert find_choice(text, OPTIONS) == place

    def test_another_judge_agrees_on_answers_of_every_form(self) -> None:
        """Answers are made, so it is known what they choose; most forms are a model's habits."""
        rng = random.Random(0)
        words = ["red", "blue", "hat", "bow", "cat", "dog", "tree", "lake"]
        forms = ["{l}", "{l}.", "({l})", "{l}. {o}", "Answer: {l}", "{o}", "It is {o}.", "The {o}!"]
        for _ in range(300):
            options = rng.sample(words, 4)
            right = rng.randrange(4)
            form = rng.choice(forms)
            assert find_choice(form.format(l=LETTERS[right], o=options[right]), options) == right
            both = f"{options[right]} and {options[right - 1]}"
            none = " ".join(word for word in words if word not in options)
            assert find_choice(both, options) is find_choice(none, options) is None

    def test_rap_s_comparison_differs_where_it_errs(self) -> None:
        """Its eval_qa.py drops articles, "A" among them: then an empty answer is right."""

        def normalized(text: str) -> str:
            bare = re.sub(r"[^\w\s]", "", text.lower())
            return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())

        for letter in "BCD":
            for said in ("B", "c.", "D", "nothing"):
                mine = find_choice(said, OPTIONS) == LETTERS.index(letter)
                assert mine == (normalized(said) == normalized(letter))
        assert normalized("") == normalized("A")
        assert find_choice("", OPTIONS) is None


@dataclass(frozen=True)
class Grey:
    key: str

    def load(self) -> Image.Image:
        return Image.new("RGB", (8, 8), "grey")


def choice(number: int, kind: str, answer: int, *references: Reference) -> Choice:
    picture = Grey(f"query {number}") if kind == "visual" else None
    question = with_options("{question}\n{options}", "What is <bo> wearing?", OPTIONS)
    target = LETTERS[answer]
    example = Example(
        f"{number}", f"ask/{kind}", references, picture, question, target, (target,), (), 1
    )
    return Choice(example, OPTIONS, answer)


def introduced(name: str, info: str | None = None) -> Reference:
    return Reference(name, info, Grey(name) if info is None else None)


ASKED = [
    choice(0, "visual", 0, introduced("<bo>")),
    choice(1, "visual", 1, introduced("<mi>")),
    choice(2, "visual", 2, introduced("<ti>")),
    choice(3, "text", 3, introduced("<bo>", "a cat"), introduced("<mi>", "a dog")),
    choice(4, "text", 0, introduced("<ti>", "a pig"), introduced("<ko>", "a cow")),
]


def test_accuracy_by_kind_and_the_share_without_a_choice() -> None:
    said = ["A", "a hat", "a hat and a bow", "glasses.", "Hm"]  # right, right, none; right, none
    found = right_choices(ASKED, [Caption(text, True) for text in said])
    expected = {"visual": 200 / 3, "text": 50.0, "mean": 175 / 3, "no choice": 40.0}
    assert found == pytest.approx(expected)
    chance = {"visual": 25.0, "text": 25.0, "mean": 25.0, "no choice": 0.0}
    assert guessing(ASKED) == pytest.approx(chance)


def test_controls_take_away_what_they_say() -> None:
    pictures = controlled(ASKED, "no_picture")
    assert [c.example.id for c in pictures] == ["0", "1", "2"]  # the others have none
    assert {c.example.query for c in pictures} == {None}
    assert {c.example.references for c in controlled(ASKED, "no_references")} == {()}
    for before, after in zip(ASKED, controlled(ASKED, "anothers"), strict=True):
        assert after.example.pool == before.example.pool
        assert after.example.question == before.example.question
        for own, given in zip(before.example.references, after.example.references, strict=True):
            assert (own.info is None, own.image is None) == (
                given.info is None,
                given.image is None,
            )
            assert (own.info, own.image) != (given.info, given.image)
    given = with_anothers([c.example for c in ASKED])
    assert given[0][0].image == Grey("<mi>")
    assert [r.info for r in given[3]] == ["a pig", "a cow"]


def test_a_control_needs_somebody_else() -> None:
    alone = ChoiceQuestions(questions=ASKED[:1], batch_size=2)
    with pytest.raises(ValueError, match=r"0: nobody else is introduced as <bo> is.*more friends"):
        alone.check()
    ChoiceQuestions(questions=ASKED, batch_size=2).check()


def test_who_learns_friends_knows_nobody_or_another_for_a_control() -> None:
    learner = Learner()
    names = ["<a>", "<b>", "<c>", "<d>"]
    friends = [Friend(name, f"info of {name}", "cat", ()) for name in names]
    learnt = {name: Enrolled({}, Cost(pictures=i)) for i, name in enumerate(names)}
    learner.meet(friends, learnt)
    with knowing(learner, "no_references"):
        assert (learner.friends, learner.learnt) == ({}, {})
    with knowing(learner, "anothers"):
        assert [f.info for f in learner.friends.values()] == [
            f"info of {other}" for other in ("<c>", "<d>", "<a>", "<b>")
        ]
        assert [learner.learnt[name].cost.pictures for name in names] == [2, 3, 0, 1]
        assert list(learner.friends) == names
    assert list(learner.friends.values()) == friends
    assert learner.learnt == learnt


def test_the_table_shows_what_guessing_gives_and_every_control() -> None:
    cell = {"visual": 50.0, "text": 40.0, "mean": 45.0, "no choice": 10.0}
    short = {"visual": 30.0, "mean": 30.0, "no choice": 0.0}
    asked = ChoiceQuestions(questions=ASKED, batch_size=2)
    cells = dict.fromkeys(CONTROLS, cell) | {"no_picture": short}
    table = asked.table({"a": cells, "b": None}, {"a": "first", "b": "second"})
    assert [row.label for row in table.rows] == [
        "guessing",
        "first",
        *(f"first, {said}" for said in CONTROLS.values() if said),
    ]
    assert table.rows[2].cells == (30.0, None, 30.0, 0.0)
