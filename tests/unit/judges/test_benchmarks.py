import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges import questions
from repic.judges.answers import FACTS, matches, parse_letter, parse_verdict
from repic.judges.client import Judge, Question
from tests.fakes import Noise
from tests.judge_server import Act, judge_server, make_judge


def with_judge(answer: Callable[[str], str], use: Callable[[Judge], Any]) -> Any:
    def play(body: dict[str, Any], index: int) -> Act:
        content = body["messages"][0]["content"]
        return Act(answer(content if isinstance(content, str) else content[-1]["text"]))

    with judge_server(play) as server:
        return use(make_judge(server.base_url)), server.bodies


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ('Here: [["A cat.", 1], [" It is fine. ", 0]]', (("A cat.", True), ("It is fine.", False))),
        ("[]", ()),
        ('["A cat."]', None),
        ('[["A cat.", 2]]', None),
        ('[["", 1]]', None),
        ('[["A cat.", 1, 1]]', None),
        ("none", None),
    ],
)
def test_facts_that_a_judge_lists(text: str, facts: Any) -> None:
    assert FACTS(text) == facts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```json\n[2, 0]\n```", (1, None)),
        ("[3, 0]", None),
        ("[-1, 0]", None),
        ("[1]", None),
        ("[true, 0]", None),
        ('["1", 0]', None),
    ],
)
def test_matches_have_to_be_as_many_and_on_the_list(text: str, found: Any) -> None:
    assert matches(2, 2)(text) == found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1),
        ("(c)", 2),
        ("The answer is: **A**", 0),
        ("B) a cat", 1),
        ("The caption says so.\n\nB", 1),
        ("A. a bear\nB. a cat", None),
        ("D", None),
        ("A cat", None),
        ("Be", None),
        ("", None),
    ],
)
def test_a_letter_stands_alone_or_before_its_option(text: str, place: int | None) -> None:
    assert parse_letter(text, 3) == place


@given(st.text(), st.integers(1, 26))
def test_no_text_makes_a_parser_fail(text: str, count: int) -> None:
    place = parse_letter(text, count)
    assert place is None or 0 <= place < count
    FACTS(text)
    matches(count, count)(text)


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

    found, bodies = with_judge(answer, use)
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
    assert [answer and answer.value for answer in judge.ask_all(questions)] == [True] * trials
    return sorted(json.dumps(body.get("seed")) for body in bodies[before:])


def test_trials_are_questions_of_their_own(tmp_path: Path) -> None:
    with judge_server([Act("yes")]) as server:
        for name, seed, expected in (("a", 7, ["1007", "2007", "7"]), ("b", None, ["null"] * 3)):
            judge = make_judge(server.base_url, tmp_path / name, seed=seed)
            assert seeds_of(judge, server.bodies, 3) == expected
            assert seeds_of(judge, server.bodies, 3) == []  # each is known by now
            assert len(seeds_of(judge, server.bodies, 4)) == 1
