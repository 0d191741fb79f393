"""What a text says: names, yes or no, a box, times, words. Pure functions of the text.

A name is what stands between angle brackets, brackets included: ``<bo>``, ``<black widow>``. So a
closing tag ``</bo>`` is a name too, and nobody's; ``<<bo>>`` and ``<bo`` name no one.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import regex

from repic.types import Box
from repic.words import Words, normal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of options

_NAME = re.compile(r"(?<!<)<[^<>\n]+>(?!>)")
_NAMED = re.compile(rf"{_NAME.pattern}(?:'s\b)?")
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_YES_NO_ANYWHERE = re.compile(r"yes|no", re.IGNORECASE)
_ANSWER_IS = r"(?:(?i:(?:the )?answer)(?i: is)?\s*:?\s*)?"
_LETTER = re.compile(rf"{_ANSWER_IS}\W*([A-Za-z])\W*")
_LETTERED = re.compile(rf"{_ANSWER_IS}\(?([A-Za-z])[).:](?=\s|$)")
_WHOLE_BOX = re.compile(r"\[(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\]", re.ASCII)
# Six digits hold every picture, and a float; a sampled row of thousands of digits does not.
_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{1,6})?)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
_GAP_AFTER = re.compile(r"""[\s"'>:,(]*(?:at\s+)?""")
_LABEL = re.compile(rf"""{_BOX.pattern}\s*,\s*"label"\s*:\s*"\s*$""")
_SECONDS = r"(\d{1,6}(?:\.\d{1,6})?)\s?"
_UNIT = r"s(?:ec(?:ond)?s?)?\b"
_TIME = re.compile(
    rf"(?<![\d.])(?:(?:\bfrom\s)?{_SECONDS}(?:{_UNIT})?\s?(?:to|until|till|through|[-–—])\s?"
    rf"|(?<=between ){_SECONDS}(?:{_UNIT})?\s?and\s|(?P<open>\b(?:from|since|after|until|till)\s))?"
    rf"{_SECONDS}{_UNIT}",
    re.IGNORECASE,
)
# regex: re takes a word's accents and vowel signs, which are marks, for its end.
_TOKEN = regex.compile(rf"{_NAME.pattern}|[\w\p{{M}}\p{{N}}]+(?:['’-][\w\p{{M}}\p{{N}}]+)*")


def find_names(text: str, known: Collection[str] = ()) -> list[str]:
    """Return every bracketed name in order of appearance, with repeats, spelled as in the text.

    A known name comes back in its own spelling, whatever sign the text has for an apostrophe and
    however its letters are composed (``repic.words``); case matters.

    >>> find_names("<bo> and <Mi Mi> meet <bo>, </bo> and <<mo>>")
    ['<bo>', '<Mi Mi>', '<bo>', '</bo>']
    >>> find_names("<O’Brien>", ["<O'Brien>"])
    ["<O'Brien>"]
    """
    names: list[str] = _NAME.findall(text)
    if not known or set(names) <= set(known):
        return names
    spellings = {normal(name).text: name for name in known}
    return [spellings.get(normal(name).text, name) for name in names]


def mentions_name(text: str, name: str) -> bool:
    """Whether a text uses a name, with its brackets or as bare words; case matters.

    What a whole word is, in any script, and which signs are one, says ``repic.words``.

    >>> [mentions_name(text, "<bo>") for text in ("<bo> sits", "bo's hat", "</bo>", "bow", "Bo")]
    [True, True, False, False, False]
    """
    name, text = normal(name).text, normal(text).text
    # What is left in brackets, or half in them, is another name or a broken one.
    return name in find_names(text) or any(_bare(name, _NAME.sub(" ", text)))


def without_names(text: str, known: Collection[str]) -> str:
    """Take every name out of a text: all in brackets, and the known ones as bare words as well.

    >>> without_names("A bear, <bo>, meets <mi>'s cat and Mi Mi; a bow.", ["<Mi Mi>"])
    'A bear,  , meets   cat and  ; a bow.'
    """
    text = _NAMED.sub(" ", normal(text).text)
    for name in sorted(known, key=len, reverse=True):  # a name may be a part of another
        for start, end in reversed(list(_bare(normal(name).text, text))):
            text = text[:start] + " " + text[end:].removeprefix("'s")
    return text


def _bare(name: str, text: str) -> Iterator[tuple[int, int]]:
    """Where a name stands as words of their own, without brackets; both are normal texts."""
    words = r"\s+".join(map(re.escape, name.strip("<>").split()))
    spans = [match.span() for match in re.finditer(rf"(?<!<)(?<!</){words}(?!>)", text)]
    if spans:
        whole = Words(text)
        yield from (span for span in spans if whole.is_whole(*span))


def parse_yes_no(text: str) -> str | None:
    """Return the first "yes" or "no" that is a word of its own, in lower case.

    >>> parse_yes_no("Not sure ... No! Yes?")
    'no'
    """
    found = _YES_NO.search(text)
    return found.group(1).lower() if found else None


def check_words(key: str, words: str, *required: str, optional: Collection[str] = ()) -> None:
    """Refuse words with a field that nothing fills, or without one that they need.

    >>> check_words("asks", "Is {nmae} there?", "name")
    Traceback (most recent call last):
    ValueError: asks: 'Is {nmae} there?' may have the fields {name}
    """
    fields = dict.fromkeys([*required, *optional], "")
    try:
        words.format(**fields)
    except (AttributeError, LookupError, TypeError, ValueError):
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise ValueError(f"{key}: {words!r} may have the fields {known}") from None
    for name in required:
        if f"{{{name}}}" not in words:
            raise ValueError(f"{key}: {words!r} lacks {{{name}}}")


def check_asks(asks: str, key: str) -> None:
    """Refuse words of a prompt that do not ask: they need ``{question}`` and ``{options}``."""
    for field in ("{question}", "{options}"):
        if field not in asks:
            raise ValueError(f"{key}: {asks!r} lacks {field}")


def with_options(asks: str, question: str, options: Sequence[str]) -> str:
    """A question with its options, a line each.

    >>> print(with_options("{question} {options}", "What is <bo>?", ["a cat", "a dog"]))
    What is <bo>? A. a cat
    B. a dog
    """
    lines = (f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return asks.replace("{options}", "\n".join(lines)).replace("{question}", question)


def find_choice(text: str, options: Sequence[str]) -> int | None:
    """Return the place of the option that an answer chooses; None for none, or several.

    It does so by a letter that stands alone or before a sign and the option ("B", "(B)", "Answer:
    B.", "B: a hat"), or by the words of one option alone. An article is no letter.

    >>> options = ["a red hat", "a hat", "a bow"]
    >>> [find_choice(text, options) for text in ("B", "(c) a bow", "A red hat.", "A bear", "D")]
    [1, 2, 0, None, None]
    """
    text = text.strip()
    if letter := _LETTER.fullmatch(text) or _LETTERED.match(text):
        place = LETTERS.index(letter.group(1).upper())
        return place if place < len(options) else None
    said = " ".join(text.lower().split())
    spans: dict[int, set[tuple[int, int]]] = {}
    for place, option in enumerate(options):
        words = re.escape(" ".join(option.lower().strip(" .").split()))
        found = re.finditer(rf"(?<!\w){words}(?!\w)", said)
        spans[place] = {match.span() for match in found}
    chosen = [
        place
        for place, own in spans.items()
        if any(not _is_inside(span, spans, but=place) for span in own)
    ]
    return chosen[0] if len(chosen) == 1 else None


def _is_inside(
    span: tuple[int, int], spans: Mapping[int, Collection[tuple[int, int]]], *, but: int
) -> bool:
    """Whether the words of another option hold these: "a red hat" holds "hat"."""
    return any(
        start <= span[0] and span[1] <= stop and (start, stop) != span
        for place, others in spans.items()
        if place != but
        for start, stop in others
    )


def parse_yes_no_anywhere(text: str) -> str | None:
    """Return the first "yes" or "no", inside a word or not, in lower case.

    So RePIC's released training script reads an answer: "not", "nose" and "know" say no, and
    "eyes" says yes.

    >>> parse_yes_no_anywhere("Not sure ... Yes?")
    'no'
    """
    found = _YES_NO_ANYWHERE.search(text)
    return found.group().lower() if found else None


def parse_box(text: str) -> Box | None:
    """Return the first four numbers in square brackets, as they stand.

    >>> parse_box('{"bbox_2d": [10, 20, 30.5, 40]}')
    Box(x0=10.0, y0=20.0, x1=30.5, y1=40.0)
    """
    found = _BOX.search(text)
    return Box(*map(float, found.groups())) if found else None


def box_beside(text: str, start: int, end: int) -> Box | None:
    """Return the box that a text gives to what stands at ``[start, end)``, as models write it.

    Four numbers in square brackets after it, or Qwen2.5-VL's JSON, in which they stand before.

    >>> box_beside("<bo> [1, 2, 3, 4] sits", 0, 4)
    Box(x0=1.0, y0=2.0, x1=3.0, y1=4.0)
    >>> box_beside('{"bbox_2d": [1, 2, 3, 4], "label": "<bo>"}', 36, 40)
    Box(x0=1.0, y0=2.0, x1=3.0, y1=4.0)
    """
    after = _GAP_AFTER.match(text, end)
    found = _BOX.match(text, after.end() if after else end)
    if found is None and (before := _LABEL.search(text, 0, start)):
        found = _BOX.match(text, before.start())
    return Box(*map(float, found.groups())) if found else None


def parse_whole_box(text: str) -> Box | None:
    """Return the first four whole numbers of 0 or more in square brackets, without inner margins.

    So RePIC's released training script reads a box.

    >>> parse_whole_box("[1.5, 2, 3, 4] [5,6 , 7,8]")
    Box(x0=5.0, y0=6.0, x1=7.0, y1=8.0)
    """
    found = _WHOLE_BOX.search(text)
    return Box(*map(float, found.groups())) if found else None


class Time(NamedTuple):
    """A time that a text says: from ``begin`` to ``end`` in seconds, in ``text[start:stop]``."""

    start: int
    stop: int
    begin: float
    end: float


def find_times(text: str) -> list[Time]:
    """Return every time in seconds that a text says; a moment begins and ends at once.

    What is said to begin and not to end lasts for ever, and what ends has always been.

    >>> [(t.begin, t.end) for t in find_times("From 1 s to 2.5 s, 4-5 sec, at 7 seconds; 3 cats")]
    [(1.0, 2.5), (4.0, 5.0), (7.0, 7.0)]
    >>> [(t.begin, t.end) for t in find_times("from 3 s on, until 2 s")]
    [(3.0, inf), (0.0, 2.0)]
    """
    found = []
    for match in _TIME.finditer(text):
        first, second, opening, last = match.groups()
        begin, end = float(first or second or last), float(last)
        if opening:
            is_end = opening.lower().startswith(("until", "till"))
            begin, end = (0.0, end) if is_end else (begin, math.inf)
        found.append(Time(*match.span(), begin, end))
    return found


def tokenize_caption(text: str) -> list[str]:
    """Split a caption into lower-case words; a name is one token, spelled as it is.

    >>> tokenize_caption("A two-toned cat, <Mi Mi>, isn't HERE.")
    ['a', 'two-toned', 'cat', '<Mi Mi>', "isn't", 'here']
    """
    return list(_tokens(text))


@lru_cache(maxsize=1024)  # rewards and diagnostics read the same captions and answers
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(token if token[0] == "<" else token.lower() for token in _TOKEN.findall(text))
