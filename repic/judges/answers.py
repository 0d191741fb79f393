"""What a judge's words say: from text to a value, None where there is none.

Nothing here raises, whatever the text. It is strict where a guess could be wrong: a judge that
contradicts itself has not answered. Answers in JSON are found in any dress, in a fence, an object
or prose, since many servers take no schema.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

T = TypeVar("T")
Choice = Literal["A", "B", "tie"]

LOWEST, HIGHEST = 1, 5  # of marks

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
    value = found.pop() if len(found) == 1 else -1.0
    return (value - low) / (high - low) if low <= value <= high else None


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


def _choice(line: str) -> Choice | None:
    plain = re.sub(r"[*_`\"'\[\]]", "", line).strip(_MARKUP)
    found = _CHOICE.fullmatch(plain)
    if found is None:
        return None
    if found["tie"]:
        return "tie"
    return "A" if found["letter"] in "aA" else "B"


class JsonForm(Generic[T]):
    """The shape of an answer in JSON: a schema for who writes it, and a parser of what comes.

    Args:
        shape: a type, as pydantic takes it.
        opening: the bracket that such a value begins with.

    Attributes:
        schema: of a JSON object; where the shape is a list, the object's only field holds it.
    """

    def __init__(self, shape: Any, opening: Literal["[", "{"]) -> None:
        self._shape: TypeAdapter[T] = TypeAdapter(shape)
        self._opening = opening
        schema = self._shape.json_schema()
        if opening == "[":
            schema = {"type": "object", "properties": {"answer": schema}, "required": ["answer"]}
        schema.pop("description", None)  # is for readers of our code
        self.schema: Mapping[str, Any] = {**schema, "additionalProperties": False}

    def __call__(self, text: str) -> T | None:
        """Return the first value of this shape, those in fences before those in prose."""
        for part in (*_FENCE.findall(text), text):
            for value in _json_values(part, self._opening):
                with contextlib.suppress(ValidationError):
                    return self._shape.validate_python(value)
        return None


def _without_blank(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.strip() for item in items if item.strip())


def _verdict(item: Any) -> bool:
    verdict = parse_verdict(item) if isinstance(item, str) else item
    if not isinstance(verdict, bool):
        raise ValueError("neither yes nor no")
    return verdict


def _share(value: Any) -> float:
    """A mark, also within a text, as a share of the scale."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:g}"
    share = parse_score(value, LOWEST, HIGHEST) if isinstance(value, str) else None
    if share is None:
        raise ValueError("off the scale, or no number")
    return share


Mark = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}),
]
Verdict = Annotated[
    bool, BeforeValidator(_verdict), WithJsonSchema({"type": "string", "enum": ["yes", "no"]})
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
TaggedFact = tuple[str, bool]  # a short sentence, and whether it tells what is to be seen
_PAIR = {
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "integer", "enum": [0, 1]}]},
    "minItems": 2,
    "maxItems": 2,
}

# A list of texts, without blank ones. An empty list is an answer.
TEXTS: JsonForm[tuple[str, ...]] = JsonForm(
    Annotated[tuple[str, ...], AfterValidator(_without_blank)], "["
)
# A list of pairs of a fact and its relevance, 1 or 0.
FACTS: JsonForm[tuple[TaggedFact, ...]] = JsonForm(
    tuple[Annotated[tuple[Text, bool], WithJsonSchema(_PAIR)], ...], "["
)


@lru_cache
def verdicts(count: int) -> JsonForm[tuple[bool, ...]]:
    """A list of ``count`` verdicts: yes or no, or JSON's true or false.

    >>> verdicts(3)('["yes", "No.", true]')
    (True, False, True)
    >>> verdicts(3)('["yes", "no"]')  # None
    """
    return JsonForm(Annotated[tuple[Verdict, ...], Field(min_length=count, max_length=count)], "[")


@lru_cache
def matches(count: int, most: int) -> JsonForm[tuple[int | None, ...]]:
    """A list of ``count`` numbers from 0 to ``most``, less 1; None for 0.

    >>> matches(3, 2)("[2, 0, 2]"), matches(1, 2)("[3]")
    ((1, None, 1), None)
    """
    number = Annotated[int, Field(strict=True, ge=0, le=most)]
    place = Annotated[number, AfterValidator(lambda item: item - 1 if item else None)]
    return JsonForm(Annotated[tuple[place, ...], Field(min_length=count, max_length=count)], "[")


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
