import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges import answers
from repic.judges.answers import FACTS, TEXTS, matches, verdicts
from repic.judges.questions import LANGUAGE, LanguageScores

# Text that looks like answers, and any other.
LOOKALIKES = """yes no A B tie 4 /5 [ ] { } " , ``` ```json <think> </think> true NaN 1e999 ٣"""
PIECES = st.sampled_from([*LOOKALIKES.split(), "\n", " ", "\ud800", "9" * 5000])
ANY = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))
BROKEN = ["[" * 100_000, '{"a":' * 50_000, '["' * 50_000, "[" + "9" * 5000 + "]"]


def assert_parsed(text: str) -> None:
    """Nothing raises, and what is found is in its range."""
    assert answers.parse_verdict(text) in (True, False, None)
    assert answers.parse_choice(text) in ("A", "B", "tie", None)
    score = answers.parse_score(text, 1, 5)
    assert score is None or 0 <= score <= 1
    scores = LANGUAGE(text)
    assert scores is None or 0 <= scores.mean <= 1
    pairs = FACTS(text)
    assert pairs is None or all(fact.strip() for fact, _ in pairs)
    assert len(matches(2, 2)(text) or "..") == 2
    place = answers.parse_letter(text, 3)
    assert place is None or 0 <= place < 3
    strings = TEXTS(text)
    assert strings is None or all(s.strip() for s in strings)
    assert len(verdicts(3)(text) or "...") == 3
    assert "</think>" not in answers.without_reasoning(text)


@given(ANY)
def test_no_text_makes_a_parser_raise_or_leave_its_range(text: str) -> None:
    assert_parsed(text)


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_nor_do_brackets_and_digits_without_end(number: int) -> None:
    assert_parsed(BROKEN[number])  # hypothesis would spell it out, which takes longer


PROSE = st.sampled_from(["", "Sure, here they are:\n", "Note: none is doubtful.", "(as asked)"])
FENCES = st.sampled_from(["{}", "```json\n{}\n```", "```\n{}\n```"])


@given(st.lists(st.text().filter(str.strip)), PROSE, PROSE, FENCES)
def test_a_list_is_found_in_any_dress(said: list[str], before: str, after: str, fence: str) -> None:
    text = before + fence.replace("{}", json.dumps(said)) + after
    assert TEXTS(text) == tuple(s.strip() for s in said)


@given(st.lists(st.booleans(), min_size=1), PROSE, PROSE, FENCES)
def test_verdicts_are_found_in_any_dress(
    said: list[bool], before: str, after: str, fence: str
) -> None:
    words = json.dumps(["yes" if verdict else "No." for verdict in said])
    text = before + fence.replace("{}", words) + after
    assert verdicts(len(said))(text) == tuple(said)
    assert verdicts(len(said) + 1)(text) is None
    assert verdicts(len(said))(json.dumps(said)) == tuple(said)


@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 5))
def test_a_score_is_its_share_of_the_scale(low: int, width: int, above: int) -> None:
    high, value = low + width, low + min(above, width)
    share = (value - low) / width
    for text in (f"{value}", f"**{value}**.", f"Score: {value}/{high}", f"{value} out of {high}!"):
        assert answers.parse_score(text, low, high) == share
    assert answers.parse_score(f"{high + 1}", low, high) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("NO", False),
        ("Answer: yes.", True),
        ("'No', it is blue.", False),
        ("Yes, there is no doubt.", True),
        ("No: it says yes on the sign.", False),
        ("Is it there? yes or no?", None),
        ("Nothing says no or yes.", None),  # "no" of "nothing" is no word
        ("eyes, nose", None),
        ("", None),
    ],
)
def test_verdict(text: str, value: bool | None) -> None:
    assert answers.parse_verdict(text) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4.", 0.75),
        ("3 (3/5)", 0.5),
        ("I give it a 2.5", 0.375),
        ("From 1 to 5: 4", None),
        ("3–4", None),
        ("0", None),
        ("5.5", None),
        ("4,5", None),
        ("4/10", None),
        ("v4", None),
        ("four", None),
    ],
)
def test_score(text: str, value: float | None) -> None:
    assert answers.parse_score(text, 1, 5) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A", "A"),
        ("b", "B"),
        ("**Tie**.", "tie"),
        ("[[B]]", "B"),
        ("Caption A is better.", "A"),
        ("The better one names all.\nFinal answer: B", "B"),
        ("B\nIt names everybody, and A does not.", "B"),
        ("A\nOn second thoughts ...\nB", None),
        ("A cat is in the picture.", None),
        ("A/B", None),
        ("", None),
    ],
)
def test_choice(text: str, value: str | None) -> None:
    assert answers.parse_choice(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"claims": ["A cat."]}', ("A cat.",)),
        ("[]", ()),
        ('["A cat.", "  "]', ("A cat.",)),
        ('Of [1, 2] claims: ["A cat."]', ("A cat.",)),
        ('["draft"]\n```json\n["final"]\n```', ("final",)),
        ('["A cat.", "cut o', None),
        ("- A cat.", None),
        ("[1, 2]", None),
    ],
)
def test_list(text: str, value: tuple[str, ...] | None) -> None:
    assert TEXTS(text) == value


@pytest.mark.parametrize(
    "text", ['["yes", "no", "perhaps"]', '["yes", "no"]', '["yes", "no", 1]', "yes, no, yes", "[]"]
)
def test_verdicts_that_do_not_match_the_items_are_none(text: str) -> None:
    assert verdicts(3)(text) is None


def test_an_unclear_verdict_does_not_make_the_number_right() -> None:
    assert verdicts(1)('["yes", "perhaps"]') is None


@pytest.mark.parametrize(
    "text",
    [
        '{"clarity": 4, "fluency": 3}',
        '{"clarity": 4, "fluency": 6, "coherence": 1}',
        '{"clarity": true, "fluency": 3, "coherence": 1}',
        '{"clarity": 4, "fluency": NaN, "coherence": 1}',
        '{"clarity": 4, "fluency": null, "coherence": 1}',
        "5",
    ],
)
def test_marks_that_are_not_all_there_are_none(text: str) -> None:
    assert LANGUAGE(text) is None


def test_marks_as_words_of_json() -> None:
    text = 'Well: {"clarity": "4/5", "fluency": 1, "coherence": 2.5, "note": "short"} as you see'
    assert LANGUAGE(text) == LanguageScores(0.75, 0.0, 0.375)


def test_schemas_are_such_as_strict_servers_take() -> None:
    for form in (TEXTS, FACTS, verdicts(2), matches(2, 3), LANGUAGE):
        assert form.schema["type"] == "object"
        assert form.schema["additionalProperties"] is False
        assert set(form.schema["required"]) == set(form.schema["properties"])
        assert "prefixItems" not in json.dumps(form.schema)
    said = {"enum": ["yes", "no"], "type": "string"}
    wanted = {"type": "array", "items": said, "minItems": 2, "maxItems": 2}
    assert verdicts(2).schema["properties"] == {"answer": wanted}


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("no", "no"),
        ("<think>no</think>\n\nyes", "yes"),
        ("so no, or?</think>yes", "yes"),  # the template has opened it
        ("<think>no", ""),
        ("It says <think>", "It says <think>"),
    ],
)
def test_thinking_is_no_answer(text: str, rest: str) -> None:
    assert answers.without_reasoning(text) == rest


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
    assert answers.parse_letter(text, 3) == place
