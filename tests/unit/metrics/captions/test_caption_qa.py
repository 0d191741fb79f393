import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.caption_qa import (
    CANNOT,
    Asked,
    CaptionQA,
    GrammarReader,
    question_score,
    shuffled_options,
)
from repic.metrics.captions.metric import CaptionKey, Captions, MetricFailed
from repic.metrics.captions.quiz import NO_NAME, Quiz, SceneQuizzes, answer_by_grammar, read_quizzes
from repic.toybox.cells import SLOT_VALUES
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.types import Mention, Scene
from tests.properties import at_most
from tests.scores import column_scores, read_captions
from tests.unit.metrics.scenes import renamed, say, scenes

QUIZZES = SceneQuizzes(parser=parse_caption, unread=unread_clauses, values=SLOT_VALUES)
REFERENCES = ("A red bear, <bo>. A red cat on a beach.",)


class Fixed:
    """A reader that says the same to everything, and nothing where that is no option."""

    may_fail = True
    needs = "a question about its picture"

    def __init__(self, *says: str) -> None:
        self.says = says

    def missing(self) -> None:
        pass

    def answers(self, asked: Sequence[Asked]) -> list[str | None]:
        return [next((s for s in self.says if s in one.options), None) for one in asked]


def metric(source: str = "grammar", reader: Any = None, **changes: Any) -> CaptionQA:
    sources = {"grammar": GrammarReader(parser=parse_caption), "judge": reader or Fixed()}
    given_ = {"questions": None, "quizzes": QUIZZES, "most": None, **changes}
    return CaptionQA(source=source, sources=sources, **given_)


def score(caption: str, references: Sequence[str], **changes: Any) -> float:
    captions = read_captions([caption], [tuple(references)])
    chosen = metric(**changes)
    rows = chosen.statistics(captions)
    return column_scores(chosen, rows)["caption_qa"].item()


def test_questions_of_a_scene_by_hand() -> None:
    found = {quiz.question: quiz for quiz in QUIZZES(REFERENCES)}
    assert list(found) == [
        "What is the colour of <bo>?",
        "What is the species of <bo>?",
        "By which name is the one with species bear called?",
        "What is the colour of the one with species cat?",
        # Red are both: nothing but its species tells the cat apart, so its species is not asked.
        "By which name is the one with species cat called?",
        "What is the background of the picture?",
    ]
    colour = found["What is the colour of <bo>?"]
    assert (colour.choices[colour.answer], len(set(colour.choices))) == ("red", 4)
    assert set(colour.choices) <= set(SLOT_VALUES["colour"])
    name = found["By which name is the one with species cat called?"]
    assert (name.choices, name.choices[name.answer]) == (("<bo>", NO_NAME), NO_NAME)
    assert QUIZZES(REFERENCES) == QUIZZES(REFERENCES)
    assert QUIZZES(("A happy red bear.",)) == ()


@pytest.mark.parametrize(
    ("caption", "worth"),
    [
        # Four choices: 0.3 for no answer; names and the bear's name have two: 0.55.
        (REFERENCES[0], [1, 1, 1, 1, 1, 1]),
        ("", [0.3, 0.3, 0.55, 0.3, 0.55, 0.3]),
        ("A bear, <bo>.", [0.3, 1, 1, 0.3, 0.55, 0.3]),
        ("A blue bear. A cat in a room.", [0.3, 0.3, 0, 0.3, 1, None]),
        ("A red bear. A blue cat, <bo>.", [None, None, 0, None, 0, 0.3]),
        ("A red cat. A blue cat.", [0.3, 0.3, 0.55, 0.3, 1, 0.3]),
    ],
)
def test_answers_by_hand(caption: str, worth: list[float | None]) -> None:
    reader = GrammarReader(parser=parse_caption)
    asked = [Asked(caption, quiz, shuffled_options(quiz)) for quiz in QUIZZES(REFERENCES)]
    answers = reader.answers(asked)
    found = [question_score(one.quiz, a or "") for one, a in zip(asked, answers, strict=True)]
    for value, expected, one in zip(found, worth, asked, strict=True):
        if expected is None:  # a wrong value: 0 if it is among the choices, else no answer
            place = answer_by_grammar(one.quiz, parse_caption(caption))
            expected = 0 if place is not None else 0.3
        assert value == pytest.approx(expected), one.quiz.question
    assert score(caption, REFERENCES) == pytest.approx(100 * sum(found) / 6)


@at_most(15)
@given(scenes(most=3))
def test_the_truth_answers_everything(scene: Scene) -> None:
    references = write_captions(scene)
    assert score(say(scene), references) == 100
    assert score(references[1], references) == 100
    quizzes = QUIZZES(references)
    assert all(quiz.choices[quiz.answer] for quiz in quizzes)
    nothing = sum(question_score(quiz, CANNOT) for quiz in quizzes) / len(quizzes)
    assert score("", references) == pytest.approx(100 * nothing)
    if renamed(scene, "<ka>") != scene:
        assert score(say(renamed(scene, "<ka>")), references) < 100


@at_most(10)
@given(scenes(most=3), st.randoms(use_true_random=False))
def test_the_more_is_left_out_the_less_is_answered(scene: Scene, random) -> None:
    """Of looks and places: who leaves a name out says that there is none."""
    references, before = write_captions(scene), 100.0
    mentions = list(scene.mentions)
    for _ in range(5):
        i = random.randrange(len(mentions))
        attributes = dict(mentions[i].attributes)
        attributes.pop(random.choice(["pattern", "colour", "position"]), None)
        mentions[i] = replace(mentions[i], attributes=attributes)
        found = score(say(Scene(tuple(mentions), scene.background)), references)
        assert found <= before + 1e-9
        before = found


@at_most(10)
@given(scenes(most=2))
def test_options_are_shuffled_and_always_the_same(scene: Scene) -> None:
    for quiz in QUIZZES(write_captions(scene)):
        options = shuffled_options(quiz)
        assert sorted(options) == sorted([*quiz.choices, CANNOT])
        assert options == shuffled_options(quiz)


def test_the_right_option_stands_anywhere() -> None:
    scene = Scene(tuple(Mention({"species": s}) for s in SLOT_VALUES["species"]), "beach")
    places = {
        shuffled_options(quiz).index(quiz.choices[quiz.answer]) for quiz in QUIZZES((say(scene),))
    }
    assert len(places) > 1


def test_yes_and_no_come_without_a_way_out() -> None:
    quiz = Quiz("Is it red?", ("Yes", "No"), 0)
    assert sorted(shuffled_options(quiz)) == ["No", "Yes"]


FILE = {
    "a.jpg": [
        {"question": "What sits?", "choices": ["a bear", "a cat"], "answer": "a bear"},
        {"question": "Is it red?", "choices": ["yes", "no"], "answer": "yes"},
        {"question": "Where?", "choices": ["here", "there"], "answer": "here"},
    ],
    "b.jpg": [{"question": "What sits?", "choices": ["a bear", "a cat"], "answer": "a cat"}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(FILE))
    return path


def of(*images: str) -> Captions:
    keys = [CaptionKey(image, ()) for image in images]
    return read_captions(["A bear."] * len(images), keys=keys)


def test_a_files_questions_all_count_alike(file: Path) -> None:
    chosen = metric("judge", Fixed("a bear", "yes", CANNOT), questions=str(file))
    assert [c.name for c in chosen.columns] == ["caption_qa", "caption_qa_unjudged"]
    rows = chosen.statistics(of("a.jpg", "b.jpg", "c.jpg"))
    values = column_scores(chosen, rows.sum(axis=0, keepdims=True))
    # Right, right, 1/2 + 0.05, and wrong, of four questions; c.jpg has none.
    assert values["caption_qa"].item() == pytest.approx(100 * 2.55 / 4)
    assert values["caption_qa_unjudged"].item() == 0
    assert not rows[2].any()


def test_what_is_not_answered_has_no_score(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = metric("judge", Fixed("yes"), questions=str(file))
    rows = chosen.statistics(of("a.jpg", "b.jpg"))
    values = column_scores(chosen, rows.sum(axis=0, keepdims=True))
    assert values["caption_qa"].item() == 100  # of the one question that has an answer
    assert values["caption_qa_unjudged"].item() == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert not rows[1, :2].any()
    assert "caption_qa: 1 of 2 captions have no value" in caplog.text
    with pytest.raises(MetricFailed, match="judged none of 1 captions"):
        chosen.statistics(of("b.jpg"))
    with pytest.raises(MetricFailed, match="no caption has a question"):
        chosen.statistics(of("c.jpg"))


def test_fewer_questions_are_always_the_same_ones() -> None:
    seen = []

    class Noting(Fixed):
        def answers(self, asked: Sequence[Asked]) -> list[str | None]:
            seen.append([one.quiz.question for one in asked])
            return super().answers(asked)

    captions = read_captions(["A bear."], [REFERENCES])
    for _ in range(2):
        metric("judge", Noting(CANNOT), most=2).statistics(captions)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


def test_a_files_questions_need_a_model(file: Path) -> None:
    assert "need a model" in (metric(questions=str(file)).missing() or "")
    assert metric("judge", Fixed(), questions=str(file)).missing() is None
    with pytest.raises(ValueError, match=r"does not come from a scene"):
        answer_by_grammar(read_quizzes(file)["a.jpg"][0], Scene(()))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no.json"),
        ("{", "questions.*json"),
        ([], "need a JSON object"),
        ({"a.jpg": {}}, "key 'a.jpg': is {}, need a list"),
        ({"a.jpg": [{"question": "?"}]}, "key 'a.jpg.0': the key 'choices' is missing"),
        ({"a": [{"question": " ", "choices": ["x", "y"], "answer": "x"}]}, "'question' is empty"),
        (
            {"a": [{"question": "?", "choices": "xy", "answer": "x"}]},
            "'a.0.choices': is \"xy\", need a",
        ),
        ({"a": [{"question": "?", "choices": ["x"], "answer": "x"}]}, "2 to 25 different"),
        ({"a": [{"question": "?", "choices": ["x", "x"], "answer": "x"}]}, "2 to 25 different"),
        ({"a": [{"question": "?", "choices": ["x", "y"], "answer": "z"}]}, "none of the choices"),
    ],
)
def test_bad_rows_are_named_before_anything_is_asked(
    tmp_path: Path, content: Any, said: str
) -> None:
    path = tmp_path / ("no.json" if content is None else "questions.json")
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=said):
        metric("judge", Fixed(), questions=str(path)).missing()
