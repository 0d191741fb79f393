import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges.client import Judge
from repic.judges.questions import LanguageScores
from repic.rewards.claims import ClaimsReward, Findings, Share
from repic.rewards.judged import JudgedClaims, JudgedLanguage
from repic.rewards.language import LanguageReward
from repic.rewards.rubric import Rubric
from repic.types import Example
from tests.fakes import Noise
from tests.judge_server import Act, judge_server, make_judge
from tests.properties import at_most
from tests.unit.rewards.test_claims import rollout

CAPTION = "A red bear, <bo>, on a cosy sofa. A cat, <mi>."
CLAIMS = '["A bear.", "It is red.", "It is <bo>.", "How cosy.", "A cat.", "It is <mi>."]'
REFERENCE = ("A red bear, <bo>, and a dog.", "A bear called <bo> with a dog.")
UNITS = '["A bear.", "It is red.", "It is <bo>.", "A dog."]'


def judge_that(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, str], str | None]
) -> tuple[Judge, list[tuple[str, str]]]:
    """A judge that answers by rule, by kind of question and text; and what it is asked."""
    judge, asked = make_judge("http://127.0.0.1:1/v1"), []
    kinds = {"Take a": "claims", "Check": "verify", "Compare": "coverage", "Judge": "language"}

    def ask_all(questions: Sequence[Any]) -> list[Any]:
        answers = []
        for question in questions:
            kind = next(kind for start, kind in kinds.items() if question.text.startswith(start))
            asked.append((kind, question.text))
            said = answer(kind, question.text)
            answers.append(None if said is None else question.parse(said))
        return answers

    monkeypatch.setattr(judge, "ask_all", ask_all)
    return judge, asked


def example(answers: tuple[str, ...] = REFERENCE, present: tuple[str, ...] = ("<bo>",)) -> Example:
    return Example("", "caption", (), Noise(0), "", "", answers, present, 1)


def answers(kind: str, text: str) -> str | None:
    """Right about all but the comment; names are taken as right."""
    if kind == "claims":
        return UNITS if "and a dog" in text else CLAIMS
    if kind == "verify":
        return '["yes", "yes", "yes", "no", "yes", "yes"]'
    return '["yes", "yes", "yes", "no"]' if kind == "coverage" else None


def test_claims_and_units_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, asked = judge_that(monkeypatch, answers)
    source = JudgedClaims(judge=judge)
    here, nobody = example(), example(present=())
    found = source.assess([CAPTION, CAPTION], [here, nobody])
    # "<mi>" is nobody present, and the comment points at nothing; without "<bo>" one less.
    assert found[0] == Findings(Share(4, 6), Share(3, 4))
    assert found[1] == Findings(Share(3, 6), Share(3, 4))
    assert [kind for kind, _ in asked].count("claims") == 3  # two captions, one reference
    source.assess([CAPTION], [here])
    assert [kind for kind, _ in asked].count("claims") == 4  # the reference's are known
    (units,) = {text for kind, text in asked if kind == "coverage"}
    assert "A dog." in units
    assert "How cosy" not in units


FAILURES = {
    "claims of the caption": (None, Share(3, 4)),
    "claims of the reference": (Share(4, 6), None),
    "verify": (None, Share(3, 4)),
    "coverage": (Share(4, 6), None),
}


@pytest.mark.parametrize("failing", FAILURES)
def test_a_question_without_an_answer_fails_alone(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flaky(kind: str, text: str) -> str | None:
        of = " of the reference" if "and a dog" in text else " of the caption"
        is_failing = failing == (kind + of if kind == "claims" else kind)
        return None if is_failing else answers(kind, text)

    judge, _ = judge_that(monkeypatch, flaky)
    (found,) = JudgedClaims(judge=judge).assess([CAPTION], [example()])
    assert found == FAILURES[failing]


def test_a_reference_that_failed_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    down = True

    def flaky(kind: str, text: str) -> str | None:
        return None if down and "and a dog" in text else answers(kind, text)

    judge, _ = judge_that(monkeypatch, flaky)
    source = JudgedClaims(judge=judge)
    assert source.assess([CAPTION], [example()])[0].units is None
    down = False
    assert source.assess([CAPTION], [example()])[0].units == Share(3, 4)


def test_blank_captions_and_missing_references_need_no_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge, asked = judge_that(monkeypatch, answers)
    source = JudgedClaims(judge=judge)
    (blank,) = source.assess([" "], [example()])
    assert blank == Findings(Share(0, 0), Share(0, 4))
    (alone,) = source.assess([CAPTION], [example(answers=())])
    assert alone == Findings(Share(4, 6), Share(0, 0))
    assert [kind for kind, _ in asked] == ["claims", "claims", "verify"]
    assert source.applies(example(answers=()))
    assert not source.applies(Example("", "caption", (), None, "", "", REFERENCE, (), 1))


def test_language_is_the_judges_three_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = '{"clarity": 5, "fluency": 3, "coherence": 1}'
    judge, _ = judge_that(monkeypatch, lambda kind, text: marks if "A bear" in text else "Nice!")
    source = JudgedLanguage(judge=judge)
    found = source.assess(["A bear.", "A cat.", ""], [example()] * 3)
    assert found == [LanguageScores(1.0, 0.5, 0.0), None, LanguageScores(0.0, 0.0, 0.0)]
    assert source.applies(example(answers=()))


@pytest.mark.parametrize("source", [JudgedClaims, JudgedLanguage])
def test_without_a_judge_the_choice_is_named(source: type) -> None:
    with pytest.raises(ValueError, match=re.escape("choose judge=openai or judge=local")):
        source(judge=None)


WORDS = ["yes", "no", "perhaps", "", "[]", '["yes", "no"]', '["A bear."]', '[["A bear.", 1]]', "{}"]
WORDS += [
    '{"clarity": 5, "fluency": 3, "coherence": 1}',
    '{"clarity": 9}',
    "[1, 2]",
    "<think>",
    "7",
]
ACTS = [*map(Act, WORDS), Act(content=None), Act(content=[1]), Act(raw=b"null"), Act(cut=True)]
ACTS += [Act(status=status) for status in (400, 401, 429, 500)]


@at_most(25)
@given(st.lists(st.sampled_from(ACTS), min_size=1, max_size=6))
def test_whatever_a_judge_answers_a_component_is_a_share_or_failed_and_counted(
    acts: list[Act],
) -> None:
    rollouts = [rollout(text, example()) for text in (CAPTION, "A bear.", "")]
    with judge_server(acts) as server:
        judge = make_judge(server.base_url, attempts=1, attempts_unparsable=1, concurrency=1)
        rewards = {
            "claims": ClaimsReward(source=JudgedClaims(judge=judge), tasks=["caption"]),
            "language": LanguageReward(source=JudgedLanguage(judge=judge), tasks=["caption"]),
        }
        batch = Rubric(rewards, {}).score(rollouts)
    assert batch.failed is not None
    missing = batch.values.isnan()
    assert (missing | ~batch.failed).all()
    unexplained = missing & ~batch.failed
    # A reference in which nothing was found to cover has no recall.
    unexplained[:, batch.names.index("recall")] = False
    assert not unexplained.any()
    shares = batch.values[~batch.values.isnan()]
    assert ((shares >= 0) & (shares <= 1)).all()
    counts = judge.take_counts()
    failed = sum(count for name, count in counts.items() if name.startswith("failed_"))
    assert (failed > 0) == bool(batch.failed.any())
    assert set(batch.failures()) == set(batch.names)
