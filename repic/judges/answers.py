"""What a judge's words say: pure functions from text to a value, None where there is none.

None of them raises, whatever the text. They are strict where a guess could be wrong: a judge that
contradicts itself has not answered.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Choice = Literal["A", "B", "tie"]

_YES_NO = re.compile(r"\b(?:yes|no)\b", re.IGNORECASE)
# Six digits hold every scale; thousands of them do not become an integer.
_NUMBER = re.compile(r"(?<![\w.,/–-])[0-9]{1,6}(?:\.[0-9]{1,6})?(?![\w/]|[-–.,][0-9])")
_CHOICE = re.compile(
    r"(?:(?:the )?(?:final )?(?:answer|verdict|choice|winner|preference)(?: is)?\s*:?\s*)?"
    r"(?:caption )?(?:(?P<letter>[ab])|(?P<tie>tie|equal|same))(?: is better| wins)?",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"(?:(?:the )?(?:final )?(?:answer|choice|option)(?: is)?\s*:?\s*)?\(?([a-z])(?:[.):].*)?",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_MARKUP = " \t\r\n*_`\"'[](){}.:!#"
_MOST_OPENINGS = 50  # how many brackets may be tried: enough for prose, and linear in the text


def without_reasoning(text: str) -> str:
    """Return what follows a model's thinking; nothing where the thinking never ends.

    Servers that do not know a model's marks leave ``<think>…</think>`` in the answer, or only its
    end where the chat template has already opened it.

    >>> without_reasoning("<think>Is it red? no...</think> yes")
    'yes'
    >>> without_reasoning("<think>Is it red? no")
    ''
    """
    _, mark, answer = text.rpartition("</think>")
    if mark:
        return answer.strip()
    return "" if text.lstrip().startswith("<think>") else text.strip()


def parse_verdict(text: str) -> bool | None:
    """Return whether the answer is yes; None if it says both and begins with neither, or neither.

    >>> [parse_verdict(t) for t in ("**Yes**", "No, yes would be wrong.", "Not yes, not no", "-")]
    [True, False, None, None]
    """
    said = [word.lower() for word in _YES_NO.findall(text)]
    if not said:
        return None
    leads = _YES_NO.match(text.lstrip(_MARKUP)) is not None
    return said[0] == "yes" if leads or len(set(said)) == 1 else None


def parse_score(text: str, low: int, high: int) -> float | None:
    """Return the only number of the text as a share of the way from ``low`` to ``high``.

    "4/5" and "4 out of 5" are 4 where the scale ends at 5. Two different numbers, or one that is
    off the scale, are no answer.

    >>> [parse_score(t, 1, 5) for t in ("Score: 4/5", "**3**", "3-4", "7", "-1", "four")]
    [0.75, 0.5, None, None, None, None]
    """
    end = rf"\s*(?:/|out of)\s*{re.escape(f'{high:g}')}(?![\w/]|[.,][0-9])"
    found = {float(number) for number in _NUMBER.findall(re.sub(end, " ", text))}
    value = found.pop() if len(found) == 1 else None
    return None if value is None else _share(value, low, high)


def parse_scores(text: str, names: Sequence[str], low: int, high: int) -> dict[str, float] | None:
    """Return the named numbers of a JSON object, each as a share of the scale; all, or None.

    >>> parse_scores('So: {"clarity": 5, "fluency": 3, "why": "-"}', ["clarity", "fluency"], 1, 5)
    {'clarity': 1.0, 'fluency': 0.5}
    """

    def read(value: Any) -> dict[str, float] | None:
        if not isinstance(value, dict):
            return None
        shares = {name: _share(value.get(name), low, high) for name in names}
        whole = {name: share for name, share in shares.items() if share is not None}
        return whole if len(whole) == len(shares) else None

    return _first_json(text, "{", read)


def parse_list(text: str) -> tuple[str, ...] | None:
    r"""Return the first JSON list of strings, without blank ones.

    It may stand in a fence or an object, and prose around it. An empty list is an answer.

    >>> parse_list('Sure!\n```json\n["A cat.", "It sits."]\n```\nThat is all [2 claims].')
    ('A cat.', 'It sits.')
    """

    def read(value: Any) -> tuple[str, ...] | None:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return None
        return tuple(item.strip() for item in value if item.strip())

    return _first_json(text, "[", read)


def parse_verdicts(text: str, count: int) -> tuple[bool, ...] | None:
    """Return the first JSON list of ``count`` verdicts: yes or no, or JSON's true or false.

    >>> parse_verdicts('["yes", "No.", true]', 3)
    (True, False, True)
    >>> parse_verdicts('["yes", "no"]', 3)  # None
    """

    def read(value: Any) -> tuple[bool, ...] | None:
        if not isinstance(value, list):
            return None
        verdicts = [_verdict(item) for item in value]
        whole = tuple(verdict for verdict in verdicts if verdict is not None)
        return whole if len(whole) == len(value) == count else None

    return _first_json(text, "[", read)


def parse_choice(text: str) -> Choice | None:
    r"""Return which of two was chosen, if the answer or a line at its end or beginning says it.

    >>> [parse_choice(t) for t in ("**B**", "Both are fine.\nAnswer: tie", "A cat", "A or B")]
    ['B', 'tie', None, None]
    """
    lines = [line for line in text.splitlines() if line.strip(_MARKUP)]
    if not lines:
        return None
    first, last = _choice(lines[0]), _choice(lines[-1])
    if first is None or last is None:
        return first or last
    return first if first == last else None


def parse_facts(text: str) -> tuple[tuple[str, bool], ...] | None:
    """Return the first JSON list of pairs of a fact and its relevance (1 or 0).

    >>> parse_facts('[["A cat.", 1], ["It is cosy.", 0]]')
    (('A cat.', True), ('It is cosy.', False))
    """

    def read(value: Any) -> tuple[tuple[str, bool], ...] | None:
        if not isinstance(value, list):
            return None
        facts = [_fact(item) for item in value]
        whole = tuple(fact for fact in facts if fact is not None)
        return whole if len(whole) == len(value) else None

    return _first_json(text, "[", read)


def parse_matches(text: str, count: int, most: int) -> tuple[int | None, ...] | None:
    """Return the first JSON list of ``count`` numbers from 0 to ``most``, less 1; None for 0.

    >>> parse_matches("[2, 0, 2]", 3, 2), parse_matches("[3]", 1, 2)
    ((1, None, 1), None)
    """

    def read(value: Any) -> tuple[int | None, ...] | None:
        if not isinstance(value, list) or len(value) != count:
            return None
        if not all(type(item) is int and 0 <= item <= most for item in value):
            return None
        return tuple(item - 1 if item else None for item in value)

    return _first_json(text, "[", read)


def parse_letter(text: str, count: int) -> int | None:
    r"""Return the place of the lettered option that the first or last line of an answer names.

    >>> [parse_letter(t, 3) for t in ("**B**", "C. red", "So:\nAnswer: A", "A cat", "D", "A or B")]
    [1, 2, 0, None, None, None]
    """
    lines = [line for line in text.splitlines() if line.strip(_MARKUP)]
    if not lines:
        return None
    found = {_letter(line, count) for line in (lines[0], lines[-1])} - {None}
    return found.pop() if len(found) == 1 else None


def _letter(line: str, count: int) -> int | None:
    plain = re.sub(r"[*_`\"'\[\]]", "", line).strip()
    found = _LETTER.fullmatch(plain)
    place = -1 if found is None else ord(found[1].upper()) - ord("A")
    return place if 0 <= place < count else None


def _fact(item: Any) -> tuple[str, bool] | None:
    if not isinstance(item, list) or len(item) != 2:
        return None
    text, relevance = item
    is_fact = isinstance(text, str) and text.strip() and relevance in (0, 1)
    return (text.strip(), bool(relevance)) if is_fact else None


def _choice(line: str) -> Choice | None:
    plain = re.sub(r"[*_`\"'\[\]]", "", line).strip(_MARKUP)
    found = _CHOICE.fullmatch(plain)
    if found is None:
        return None
    if found["tie"]:
        return "tie"
    return "A" if found["letter"] in "aA" else "B"


def _share(value: Any, low: int, high: int) -> float | None:
    """Where a number lies on a scale, as a share; None off the scale, or for no number."""
    if isinstance(value, str):
        return parse_score(value, low, high)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return (value - low) / (high - low)


def _verdict(item: Any) -> bool | None:
    if isinstance(item, bool):
        return item
    return parse_verdict(item) if isinstance(item, str) else None


def _first_json(text: str, opening: str, read: Callable[[Any], T | None]) -> T | None:
    """Return the first JSON value that ``read`` takes, those in fences before those in prose."""
    for part in (*_FENCE.findall(text), text):
        for value in _json_values(part, opening):
            if (found := read(value)) is not None:
                return found
    return None


def _json_values(text: str, opening: str) -> Iterator[Any]:
    """Every JSON value that begins with a bracket somewhere in a text."""
    decoder, start = json.JSONDecoder(), text.find(opening)
    for _ in range(_MOST_OPENINGS):
        if start < 0:
            return
        # No JSON, or digits or brackets without end.
        with contextlib.suppress(ValueError, RecursionError):
            yield decoder.raw_decode(text, start)[0]
        start = text.find(opening, start + 1)
