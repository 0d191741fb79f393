"""Questions about friends, absent ones among them, by hand and by a judge who tells by words."""

import random
import re
from collections.abc import Sequence

import pytest

from repic.metrics.captions.caption_qa import CANNOT, Asked, GrammarReader
from repic.metrics.captions.friend_qa import FriendQA, FriendQuizzes
from repic.toybox.cells import SLOT_VALUES
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.toybox.world import COLOURS, SPECIES
from tests.scores import column_scores, read_captions

QUIZZES = FriendQuizzes(parser=parse_caption, unread=unread_clauses, values=SLOT_VALUES)
TRUTH = "A red bear, <bo>. A blue cat, <mi>. A green pig."
POOL = ("<bo>", "<mi>", "<ti>")


class ByWords:
    """Reads "a <colour> <species>, <name>" with an expression of its own."""

    may_fail, needs = False, ""

    def missing(self) -> None: ...

    def answers(self, asked: Sequence[Asked]) -> list[str | None]:
        return [self._answer(one) for one in asked]

    def _answer(self, one: Asked) -> str:
        (name,) = re.findall("<\\w+>", one.quiz.question)
        told = re.search(rf"(?:(\w+) )?(\w+), {name}", one.caption)
        place = 2 if "species" in one.quiz.question else 1
        said = told.group(place) if told else None
        return said if said in one.options else CANNOT


def scored(captions: Sequence[str], reader: object = None, each: int = 3) -> dict[str, float]:
    reader = reader or GrammarReader(parser=parse_caption)
    metric = FriendQA(quizzes=QUIZZES, each=each, source="a", sources={"a": reader})
    number = len(captions)
    read = read_captions(captions, [(TRUTH,)] * number, pools=[POOL] * number)
    columns = column_scores(metric, metric.statistics(read))
    return {name: float(columns[name].mean()) for name in ("friend_qa_present", "friend_qa_absent")}


@pytest.mark.parametrize(
    ("caption", "present", "absent"),
    [
        (TRUTH, 100, 100),
        ("", 0, 100),
        ("Here are <bo>, <mi> and <ti>.", 0, 100),  # names without looks answer nothing
        ("A red bear, <bo>.", 50, 100),
        ("A blue bear, <bo>.", 25, 100),  # one slot of two friends' four
        ("A red cat, <bo>. A blue bear, <mi>.", 50, 100),
        (f"{TRUTH} A brown dog, <ti>.", 100, 0),
        (f"{TRUTH} A dog, <ti>.", 100, 50),
        ("A red bear, <bo>. A green bear, <bo>. A blue cat, <mi>.", 75, 100),  # two colours: none
    ],
)
def test_by_hand(caption: str, present: float, absent: float) -> None:
    expected = {"friend_qa_present": present, "friend_qa_absent": absent}
    assert scored([caption]) == pytest.approx(expected)
    if "green bear" not in caption:
        assert scored([caption], ByWords()) == pytest.approx(expected)


def test_another_judge_agrees_on_many_captions() -> None:
    rng = random.Random(0)
    for _ in range(30):
        told = rng.sample([*POOL, "<ko>"], rng.randint(0, 4))
        looks = [(rng.choice([*COLOURS, ""]), rng.choice(SPECIES)) for _ in told]
        caption = " ".join(
            f"A {colour} {species}, {name}.".replace("A  ", "A ")
            for name, (colour, species) in zip(told, looks, strict=True)
        )
        assert scored([caption]) == scored([caption], ByWords())


def test_each_friend_is_asked_about_as_often_and_the_same_way() -> None:
    found = QUIZZES.of_friends([TRUTH], POOL, 3)
    assert found == QUIZZES.of_friends([TRUTH], POOL, 3)
    assert [one.is_present for one in found] == [True] * 4 + [False] * 2  # two slots each
    assert len(QUIZZES.of_friends([TRUTH], POOL, 1)) == 3
    assert QUIZZES.of_friends(["So cosy."], POOL, 3) == []
    colour = next(o.quiz for o in found if o.quiz.question == "What is the colour of <ti>?")
    assert set(colour.choices) == set(SLOT_VALUES["colour"])


def test_captions_without_an_absent_friend_have_no_share_of_them() -> None:
    metric = FriendQA(
        quizzes=QUIZZES, each=3, source="a", sources={"a": GrammarReader(parser=parse_caption)}
    )
    read = read_captions([TRUTH], [(TRUTH,)], pools=[("<bo>", "<mi>")])
    assert metric.statistics(read)[0, :4].tolist() == [100.0, 1.0, 0.0, 0.0]
