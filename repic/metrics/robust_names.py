"""Names in any spelling that a person would take for them, on word boundaries.

What counts as said:

1. A name in brackets, whatever stands between its words: ``<Iron Man>`` says ``<ironman>``. Any
   other bracketed text on one line is an invention, ``</bo>`` too.
2. Bare words that spell the name: their case, and what joins or parts the words of the name, do
   not matter ("Black-Widow", "blackwidow"). A word that the name writes as one may be parted
   once, into pieces of three letters or more ("iron man"), so that "an a" never says ``<ana>``.
3. An alias, by the same rules.
4. A possessive. But "bo-peep", "boa" and "bo_2" are other words than "bo", and so is a word with
   another accent or vowel sign.
5. A bare name needs a capital if it is written with one: ``<Bond>`` is not in "a playful bond",
   nor ``<T>`` in "can't". A name of one letter needs its own case.
6. A bare name that is written without a capital and is an ordinary word ("dog") only with a
   capital inside a sentence, or with a "_" in it. Which words are ordinary is told by whoever
   makes the ``Lexicon``.

Names whose letters and digits agree (``<quick silver>``, ``<Quicksilver>``) are one name.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from repic.metrics.recognition import NameCounts

# Marks above, below and beside letters, which \w leaves out: the vowels of Hindi or Thai names.
_MARKS = "".join(c for c in map(chr, range(0x300, 0xFE00)) if unicodedata.category(c)[0] == "M")
# Other spellings of "-" and "'", and what is not seen at all: soft hyphens, zero-width joints.
_TYPOGRAPHY = str.maketrans(
    "\u2010\u2011\u02bc", "--'", "\u00ad\u200b\u200c\u200d\u2060\ufe0e\ufe0f\ufeff"
)
_END_MARKS = re.compile(r"</?s>|<\|[^<>|\n]*\|>")
_BRACKETED = re.compile(r"<([^\s<>](?:[^<>\n]*[^\s<>])?)>")
_WORD = re.compile(rf"[^\W_]+(?:[{_MARKS}]+[^\W_]*)*")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # SpongeBob
_POSSESSIVE = re.compile(r"['’]s?$")
# A bracketed name leaves "|" behind: what follows it is no word's beginning.
_STARTS = re.compile(rf"(?<![\w{_MARKS}])(?<![\w|{_MARKS}][-'’])")
_ENDS = re.compile(rf"(?![\w{_MARKS}]|-\w)")
_PARTED = re.compile(r"[\s_-]+")
_SHORTEST_PIECE = 3


class _Spelling(NamedTuple):
    """How a name or an alias may be written."""

    owner: str  # the name, as its key
    text: str
    has_capital: bool
    breaks: Mapping[int, str]  # number of letters before -> what parts the words there


def key_of(name: str) -> str:
    """Return what all spellings of a name have in common: its letters and digits.

    Example:
        >>> key_of("<Black Widow>"), key_of("Baby_Q"), key_of("<🐶>")
        ('blackwidow', 'babyq', '🐶')
    """
    inside = _inside(name)
    return "".join(_WORD.findall(inside)).casefold() or inside


class Lexicon:
    """The names that captions are searched for, in all their spellings.

    Args:
        names: the pool.
        aliases: other spellings of names in the pool.
        ordinary: words (as keys) that say a name only where they cannot be taken for the word.

    Raises:
        ValueError: two names have the same alias, or one has the other's name.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        aliases: Mapping[str, Collection[str]] | None = None,
        ordinary: Collection[str] = (),
    ) -> None:
        self._spellings: dict[str, _Spelling] = {}
        self._ordinary = frozenset(ordinary)
        names = list(names)
        for name in names:
            self._add(name, owner=key_of(name))
        for name in names:
            for alias in (aliases or {}).get(name, ()):
                self._add(alias, owner=key_of(name))
        self._beginnings = {key[:n] for key in self._spellings for n in range(1, len(key) + 1)}
        self._most_words = 2 + max((len(s.breaks) for s in self._spellings.values()), default=0)

    def said(self, caption: str) -> frozenset[str]:
        """Return the keys of the names in a caption, and inventions in brackets.

        Example:
            >>> lexicon = Lexicon(["<bo>", "<ironman>", "<black widow>"])
            >>> sorted(lexicon.said("Bo's hat, Iron Man, black-widow and <zaza>; <bo>.</s>"))
            ['<zaza>', 'blackwidow', 'bo', 'ironman']
        """
        text = _END_MARKS.sub(" ", _normal(caption))
        said = {self._in_brackets(found[1]) for found in _BRACKETED.finditer(text)}
        text = _BRACKETED.sub("|", text)
        words = list(_WORD.finditer(text))
        folded = [word[0].casefold() for word in words]
        first = 0
        while first < len(words):
            owner, length = self._longest(text, words, folded, first)
            said |= {owner} if owner else set()
            first += length
        return frozenset(said)

    def _add(self, text: str, owner: str) -> None:
        """Take up a spelling; of several with the same letters any may be used."""
        new, key = _spelling(text, owner), key_of(text)
        old = self._spellings.get(key, new)
        if old.owner != owner:
            raise ValueError(f"{text!r} is an alias of {owner!r}, but it says {old.text!r}")
        self._spellings[key] = new._replace(
            has_capital=old.has_capital and new.has_capital, breaks={**old.breaks, **new.breaks}
        )

    def _in_brackets(self, inside: str) -> str:
        key = key_of(_POSSESSIVE.sub("", inside))
        if inside.startswith("/") or key not in self._spellings:
            return f"<{inside.casefold()}>"
        return self._spellings[key].owner

    def _longest(
        self, text: str, words: list[re.Match[str]], folded: list[str], first: int
    ) -> tuple[str | None, int]:
        """Return the name with most words that begins at a word, and its number of words."""
        key, found = "", (None, 1)
        for length in range(1, min(self._most_words, len(words) - first) + 1):
            key += folded[first + length - 1]
            if key not in self._beginnings:
                break
            spelling = self._spellings.get(key)
            if spelling and self._fits(text, words[first : first + length], key, spelling):
                found = (spelling.owner, length)
        return found

    def _fits(self, text: str, words: list[re.Match[str]], key: str, spelling: _Spelling) -> bool:
        start, end = words[0].start(), words[-1].end()
        if not (_STARTS.match(text, start) and _ENDS.match(text, end)):
            return False
        if len(key) == 1 and text[start:end] != _inside(spelling.text):
            return False
        if spelling.has_capital and text[start:end].islower():
            return False
        is_ordinary = key in self._ordinary and not spelling.has_capital
        if is_ordinary and not ("_" in text[start:end] or _is_capital_inside(text, start)):
            return False
        return _gaps_fit(text, words, spelling)


def count_robust_names(
    caption: str, targets: Collection[str], elsewhere: Collection[str], lexicon: Lexicon
) -> NameCounts:
    """Compare the names in a caption with who is in the picture.

    Args:
        caption: the text.
        targets: the names that it should use.
        elsewhere: names of others who are in the picture too: neither wanted nor wrong.
        lexicon: every name that may be used.

    Example:
        >>> lexicon = Lexicon(["<bo>", "<mi>", "<ironman>"])
        >>> count_robust_names("Bo, Iron Man and <zaza>", ["<bo>", "<mi>"], [], lexicon)
        NameCounts(exact=0, hits=1, false=2, missed=1)
    """
    said = lexicon.said(caption)
    wanted = {key_of(name) for name in targets}
    false = said - wanted - {key_of(name) for name in elsewhere}
    return NameCounts(
        exact=int(wanted <= said and not false),
        hits=len(wanted & said),
        false=len(false),
        missed=len(wanted - said),
    )


def _spelling(name: str, owner: str) -> _Spelling:
    inside = _inside(name)
    breaks: dict[int, str] = {}
    letters, end = 0, None
    for word in _WORD.finditer(inside):
        if end is not None:
            breaks[letters] = inside[end : word.start()].strip()
        for hump in _HUMP.finditer(word[0]):
            breaks[letters + len(word[0][: hump.start()].casefold())] = ""
        letters += len(word[0].casefold())
        end = word.end()
    return _Spelling(owner, name, any(map(str.isupper, inside)), breaks)


def _gaps_fit(text: str, words: list[re.Match[str]], spelling: _Spelling) -> bool:
    """Whether words are parted only where the name may be."""
    letters, num_foreign = 0, 0
    for left, right in pairwise(words):
        letters += len(left[0].casefold())
        gap = text[left.end() : right.start()]
        is_parted = _PARTED.fullmatch(gap) is not None
        if letters in spelling.breaks:
            if not is_parted and gap.strip() != spelling.breaks[letters]:
                return False
        else:
            num_foreign += 1
            shortest = min(len(left[0]), len(right[0]))
            if not is_parted or num_foreign > 1 or shortest < _SHORTEST_PIECE:
                return False
    return True


def _is_capital_inside(text: str, start: int) -> bool:
    """Whether a word has a capital that no sentence's beginning gives it."""
    before = text[:start].rstrip(" \"'“‘(*")
    return text[start].isupper() and before != "" and before[-1] not in ".!?:\n"


def _inside(name: str) -> str:
    return _normal(name).removeprefix("<").removesuffix(">").strip()


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY))
