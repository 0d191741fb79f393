import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges import questions
from repic.judges.answers import parse_verdict
from repic.judges.client import Judge, Question
from repic.judges.questions import CaptionPair, LanguageScores, Preference
from tests.fakes import Noise
from tests.judge_server import Act, judge_server, make_judge, text_of
from tests.properties import at_most


def with_judge(answer: Callable[[str], str | None], use: Callable[[Judge], Any]) -> Any:
    """Let a judge that answers by rule answer; None makes it fail."""

    def play(body: dict[str, Any], index: int) -> Act:
        said = answer(text_of(body))
        return Act(status=400) if said is None else Act(said)

    with judge_server(play) as server:
        judge = make_judge(server.base_url)
        result = use(judge)
        return result, judge.take_counts(), server.bodies


def num_pictures(body: dict[str, Any]) -> int:
    return sum(part["type"] == "image_url" for part in body["messages"][0]["content"])


def test_claims_of_every_caption() -> None:
    def answer(text: str) -> str | None:
        if "angry" in text:
            return None
        return '```json\n["A cat.", "It sits."]\n```' if '"A cat sits."' in text else "I cannot."

    captions = ["A cat sits.", "angry", " \n", "A dog."]
    claims, counts, _ = with_judge(answer, lambda j: questions.extract_claims(j, captions))
    assert claims == [("A cat.", "It sits."), None, (), None]
    assert counts["questions"] == 3
    assert counts["failed_http_400"] == 1
    assert counts["failed_unparsable"] == 1


def test_claims_are_verified_on_their_own_picture() -> None:
    def answer(text: str) -> str:
        return '["yes", "no"]' if '2. "B."' in text else '["no"]'

    verdicts, counts, bodies = with_judge(
        answer,
        lambda j: questions.verify_claims(
            j, [Noise(0), Noise(1), Noise(2)], [["A.", "B."], [], ["C."]]
        ),
    )
    assert verdicts == [(True, False), (), (False,)]
    assert counts["questions"] == 2
    assert [num_pictures(body) for body in bodies] == [1, 1]
    urls = {json.dumps(body["messages"][0]["content"][0]) for body in bodies}
    judge = make_judge("http://127.0.0.1:1/v1")
    assert all(any(judge.pictures.data_url(Noise(n)) in url for url in urls) for n in (0, 2))


def test_a_wrong_number_of_verdicts_is_no_answer() -> None:
    verdicts, counts, _ = with_judge(
        lambda text: '["yes"]',
        lambda j: questions.verify_claims(j, [Noise(0)], [["A.", "B."]]),
    )
    assert verdicts == [None]
    assert counts["failed_unparsable"] == 1


def test_units_that_a_caption_covers() -> None:
    verdicts, counts, _ = with_judge(
        lambda text: '["no", "yes"]' if "A cat" in text else None,
        lambda j: questions.covered_units(
            j, ["A cat.", "", "A dog.", "A cow."], [["X.", "Y."], ["X."], ["X."], []]
        ),
    )
    assert verdicts == [(False, True), (False,), None, ()]
    assert counts["questions"] == 2


def test_language_by_hand() -> None:
    def answer(text: str) -> str | None:
        assert "from 1 (worst) to 5 (best)" in text
        return '{"clarity": 5, "fluency": 3, "coherence": 2}' if "cat" in text else "very good"

    scores, _, _ = with_judge(
        answer, lambda j: questions.language_scores(j, ["A cat.", "A dog.", ""])
    )
    assert scores == [LanguageScores(1.0, 0.5, 0.25), None, LanguageScores(0.0, 0.0, 0.0)]
    assert scores[0].mean == pytest.approx(1.75 / 3)


def choose(rule: str) -> Callable[[str], str | None]:
    """Judges of various honesty; captions are "good", "bad" or "fair"."""
    worth = {"good": 2, "fair": 1, "bad": 0}

    def answer(text: str) -> str | None:
        a, b = (
            json.loads(next(line for line in text.splitlines() if line.startswith(mark))[3:])
            for mark in ("A: ", "B: ")
        )
        if rule in ("A", "B", "tie", "nonsense"):
            return rule
        if rule == "fails in one order":
            return "A" if worth[a] > worth[b] else None
        if rule == "ties unless A is good":
            return "A" if a == "good" else "tie"
        return "A" if worth[a] > worth[b] else "B" if worth[a] < worth[b] else "tie"

    return answer


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("honest", Preference(1.0, True)),
        ("tie", Preference(0.5, True)),
        ("A", Preference(0.5, False)),
        ("B", Preference(0.5, False)),
        ("ties unless A is good", Preference(0.5, False)),
        ("nonsense", None),
        ("fails in one order", None),
    ],
)
def test_preference_by_hand(rule: str, expected: Preference | None) -> None:
    pair = CaptionPair("good", "bad", names=("<bo>",), picture=Noise(0))
    (preference,), counts, bodies = with_judge(choose(rule), lambda j: questions.prefer(j, [pair]))
    assert preference == expected
    assert counts["inconsistent"] == (expected is not None and not expected.is_consistent)
    assert all(num_pictures(body) == 1 for body in bodies)
    assert '"<bo>"' in json.loads(json.dumps(bodies[0]["messages"][0]["content"][-1]["text"]))


CAPTIONS = st.sampled_from(["good", "fair", "bad"])
RULES = st.sampled_from(["honest", "A", "B", "tie", "nonsense", "ties unless A is good"])


@at_most(20)
@given(st.lists(st.tuples(CAPTIONS, CAPTIONS), max_size=4), RULES)
def test_swapping_the_captions_mirrors_the_score(pairs: list[tuple[str, str]], rule: str) -> None:
    given_, mirrored = (
        with_judge(
            choose(rule),
            lambda j, turn=turn: questions.prefer(
                j, [CaptionPair(*captions[::turn], picture=Noise(0)) for captions in pairs]
            ),
        )[0]
        for turn in (1, -1)
    )
    for here, there, (first, second) in zip(given_, mirrored, pairs, strict=True):
        if first == second:
            assert here == there == Preference(0.5, True)
        elif here is None or there is None:
            assert here is there is None
        else:
            assert here.score + there.score == 1
            assert here.is_consistent is there.is_consistent


@given(*[st.sampled_from(["A", "B", "tie", None])] * 2)
def test_agreement_is_symmetric_and_a_win_needs_both_orders(as_given: Any, swapped: Any) -> None:
    here, there = questions.agree(as_given, swapped), questions.agree(swapped, as_given)
    if None in (as_given, swapped):
        assert here is there is None
        return
    assert here is not None
    assert there is not None
    assert here.score + there.score == 1
    assert (here.score == 1) is ((as_given, swapped) == ("A", "B"))
    assert here.is_consistent or here.score == 0.5


def test_each_caption_has_its_own_questions() -> None:
    def answer(text: str) -> str:
        if text.startswith("Take a caption"):
            return '[["A cat.", 1]]' if '"A cat."' in text else "Sorry."
        if text.startswith("Two lists"):
            return "[0, 1]" if '1. "X."' in text else "[0]"
        if text.startswith("Check"):
            return '["yes"]' if '* "<bo> is a cat."' in text else '["no"]'
        return "B" if '"What?"' in text else "A"

    def use(judge: Judge) -> list[Any]:
        return [
            questions.extract_facts(judge, ["A cat.", "", "Hm."]),
            questions.match_facts(judge, [["P.", "X."], [], ["Q."]], [["X."], ["Y."], []]),
            questions.check_facts(
                judge, [Noise(0)] * 3, [["A."], ["A."], []], [["<bo> is a cat."], [], []]
            ),
            questions.choose_options(
                judge, [("C.", "What?", ("x", "y")), ("C.", "Who?", ("x", "y"))]
            ),
        ]

    found, _, bodies = with_judge(answer, use)
    assert found == [
        [(("A cat.", True),), (), None],
        [(None, 0), (), (None,)],  # without an oracle there is nothing to match
        [(True,), (False,), ()],
        [1, 0],
    ]
    assert len(bodies) == 3 + 1 + 2 + 2  # nonsense was asked for twice


def seeds_of(judge: Judge, bodies: list[dict[str, Any]], trials: int) -> list[Any]:
    before = len(bodies)
    questions = [Question("Yes?", parse_verdict, trial=trial) for trial in range(trials)]
    assert judge.ask_all(questions) == [True] * trials
    return sorted(json.dumps(body.get("seed")) for body in bodies[before:])


def test_trials_are_questions_of_their_own(tmp_path: Path) -> None:
    with judge_server([Act("yes")]) as server:
        for name, seed, expected in (("a", 7, ["1007", "2007", "7"]), ("b", None, ["null"] * 3)):
            judge = make_judge(server.base_url, tmp_path / name, seed=seed)
            assert seeds_of(judge, server.bodies, 3) == expected
            assert seeds_of(judge, server.bodies, 3) == []  # each is known by now
            assert len(seeds_of(judge, server.bodies, 4)) == 1
