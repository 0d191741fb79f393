"""Which names a caption says, read the way a person would read it.

A name counts as said when it stands in brackets, or bare as a whole word (two words, if the name
has two), whatever the case and whether or not ``'s`` follows. A bracketed name that the prompt
never introduced counts as said, too: it is an invention, and so an error. A bare invention cannot
be told from any other word.

A bare name that is also a word of the language ("<rose>") is found in "a rose": that is the price
of not demanding brackets.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

# On one line, and tight: "3 < 4 and 5 > 4" holds no name.
_BRACKETED = re.compile(r"<([^\s<>](?:[^<>\n]*[^\s<>])?)>")


class NameSpan(NamedTuple):
    """A name in a caption: ``caption[start:end]``, spelled as in the pool if it is known."""

    start: int
    end: int
    name: str


def name_spans(caption: str, pool: Collection[str]) -> list[NameSpan]:
    """Find every name in a caption, in order of appearance and with repeats.

    Args:
        caption: the text to read.
        pool: every name that the prompt introduced, with brackets.

    Returns:
        Spans that do not overlap. Of two pool names that fit at one place the longer is taken.

    Example:
        >>> [span.name for span in name_spans("Momi's hat and <zaza>.", ["<momi>", "<tavo>"])]
        ['<momi>', '<zaza>']
    """
    known = {_key(name): name for name in pool}
    spans = [
        NameSpan(*found.span(), known.get(_key(found[0]), found[0]))
        for found in _BRACKETED.finditer(caption)
    ]
    taken = [range(span.start, span.end) for span in spans]
    longest_first = sorted(known.values(), key=len, reverse=True)
    for found in _bare(longest_first).finditer(caption):
        # The "bo" of an invented "<bo junior>" is not <bo>.
        if found.lastindex and not any(found.start() in span for span in taken):
            spans.append(NameSpan(*found.span(), longest_first[found.lastindex - 1]))
    return sorted(spans)


def names_said(caption: str, pool: Collection[str]) -> frozenset[str]:
    """Return the set of names in a caption.

    Inventions are in lower case, so that the same one spelled twice counts once.

    Example:
        >>> sorted(names_said("<momi> and <ZAZA> meet tavo; <zaza> waves.", ["<momi>", "<tavo>"]))
        ['<momi>', '<tavo>', '<zaza>']
    """
    return frozenset(
        span.name if span.name in pool else f"<{_key(span.name)}>"
        for span in name_spans(caption, pool)
    )


def _key(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(_inside(name).casefold().split())


def _inside(name: str) -> str:
    return name.removeprefix("<").removesuffix(">")


def _bare(names: Sequence[str]) -> re.Pattern[str]:
    """Names as whole words, the i-th in group i + 1; "bo-peep" is another word than "bo"."""
    groups = (r"\s+".join(map(re.escape, _inside(name).split())) for name in names)
    words = "|".join(f"({group})" for group in groups)
    return re.compile(rf"(?<!\w)(?<!\w-)(?:{words})(?!\w|-\w)", re.IGNORECASE)
