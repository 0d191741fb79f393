"""Names in any spelling that a person would take for them: the one rule of all that counts names.

RePIC's released evaluation, which is another, is ``repic.metrics.paper_names``. What counts as
said:

1. A name in brackets, whatever stands between its words: ``<Iron Man>`` says ``<ironman>``. Any
   other bracketed text on one line is an invention, ``</bo>`` too.
2. Bare words that spell the name: their case, and what joins or parts the words of the name, do
   not matter ("Black-Widow", "blackwidow"). A word that the name writes as one may be parted
   once, into pieces of three letters or more ("iron man"), so that "an a" never says ``<ana>``.
3. An alias, by the same rules.
4. A possessive. But "bo-peep", "boa" and "bo_2" are other words than "bo", and so is a word with
   another accent or vowel sign. What a whole word is in other scripts, and which signs are one,
   says ``repic.words``.
5. A bare name needs a capital if it is written with one: ``<Bond>`` is not in "a playful bond",
   nor ``<T>`` in "can't". A name of one letter needs its own case.
6. A bare name that is an ordinary word (``<dog>``, ``<can>``) only where it is clearly a name: with
   a capital inside a sentence, after "named" or "called", or with a "_" in it. So do ``<A>`` and
   ``<The>``, which begin sentences. A number is a name only in brackets.
7. A name of signs stands bare as it is written, if it has a letter or a sign beyond ASCII: ``<♥>``,
   ``<c++>``. Beside letters signs do not matter.

Names whose letters and digits agree (``<quick silver>``, ``<Quicksilver>``) are one name.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import regex

from repic.words import Words, normal, stems

END_MARKS = re.compile(r"</?s>|<\|[^<>|\n]*\|>")
_BRACKETED = re.compile(r"<([^\s<>](?:[^<>\n]*[^\s<>])?)>")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # SpongeBob
_POSSESSIVE = re.compile(r"'s?$")
_PARTED = re.compile(r"[\s_·-]+")
_SHORTEST_PIECE = 3
LONGEST = 200  # letters of a name, of which every beginning is kept
_OTHER_CLITIC = regex.compile(r"'(?!s(?!\w))\p{L}", regex.IGNORECASE)  # of a name of one letter
_INTRODUCED = regex.compile(r"(?r)\b(?:named|called)\s+[\"'“*_]*", regex.IGNORECASE)
# The last that is no bracket, quote, dash, emoji or mark of Markdown: they may begin a sentence.
_TELLING = regex.compile(
    r"(?r)[^\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Pd}\p{So}\p{Sk}\p{Zs}\t\"'*_~#>•|¿¡\u200d]"
)
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_SIGN = regex.compile(r"(?V1)[\p{S}--\p{ASCII}]")
_JOINT, _SKIN_TONES = "\u200d", "🏻🏼🏽🏾🏿"  # they make another emoji of one
_MARKDOWN = "*_`~\\ "

# What begins sentences, and so has a capital there: a name that is one of them has to be clear.
_FUNCTION_WORDS = frozenset(
    "a an the this that these those i he she it we you they his her its our your their my one two"
    " three there here where when while what which who how and or but so if as at by for from in"
    " into of off on onto out over to under up with without is are was were be has have no not all"
    " both each every some any many".split()
)


class NameCounts(NamedTuple):
    """One caption's (or the sum of many captions') outcome."""

    exact: int  # 1 if those named are exactly those who should be
    hits: int  # present and said
    false: int  # said, but not present: absent beings and inventions
    missed: int  # present, but not said


class NameSpan(NamedTuple):
    """A name in a caption: ``caption[start:end]``, spelled as in the pool if it is known."""

    start: int
    end: int
    name: str


class _Spelling(NamedTuple):
    """How a name or an alias may be written."""

    owner: str  # the name, as its key
    text: str
    has_capital: bool
    breaks: Mapping[int, str]  # number of letters before -> what parts the words there


@cache
def english_words() -> frozenset[str]:
    """Ordinary words in small letters, inflected forms included."""
    lines = Path(__file__).with_name("english_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if line[:1] != "#" for word in line.split())


@lru_cache(maxsize=4096)  # the same names are looked for in caption after caption
def key_of(name: str) -> str:
    """Return what all spellings of a name have in common: letters and digits, or else signs.

    Example:
        >>> key_of("<Black Widow>"), key_of("Baby_Q"), key_of("<🐶>"), key_of("<C++>")
        ('blackwidow', 'babyq', '🐶', 'c++')
    """
    inside = _inside(name)
    letters = _letters(inside)
    return letters if len(letters) > 1 or letters == _folded(inside) else _signs(inside)


class Lexicon:
    """The names that captions are searched for, in all their spellings.

    Args:
        names: the pool.
        aliases: other spellings of names in the pool.
        ordinary: words (as keys) that say a name only where they cannot be taken for the word;
            None: those of English.

    Raises:
        ValueError: two names have the same alias, one has the other's name, or one is very long.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        aliases: Mapping[str, Collection[str]] | None = None,
        ordinary: Collection[str] | None = None,
    ) -> None:
        self._spellings: dict[str, _Spelling] = {}
        self._ordinary = english_words() if ordinary is None else frozenset(ordinary)
        names = list(names)
        self._names: dict[str, str] = {}
        for name in names:
            self._names.setdefault(key_of(name), name)
            self._add(name, owner=key_of(name))
        for name in names:
            for alias in (aliases or {}).get(name, ()):
                self._add(alias, owner=key_of(name))
        if (longest := max(map(len, self._spellings), default=0)) > LONGEST:
            raise ValueError(f"a name has {longest} letters, of {LONGEST} at most")
        self._beginnings = {key[:n] for key in self._spellings for n in range(1, len(key) + 1)}
        self._most_words = 2 + max((len(s.breaks) for s in self._spellings.values()), default=0)
        self._signs = [s for key, s in self._spellings.items() if key != _letters(key)]

    def __contains__(self, name: str) -> bool:
        """Whether somebody is called so, in any spelling."""
        return key_of(name) in self._spellings

    def said(self, caption: str) -> frozenset[str]:
        """Return the keys of the names in a caption, and inventions in brackets.

        Example:
            >>> lexicon = Lexicon(["<bo>", "<ironman>", "<black widow>"])
            >>> sorted(lexicon.said("Bo's hat, Iron Man, black-widow and <zaza>; <bo>.</s>"))
            ['<zaza>', 'blackwidow', 'bo', 'ironman']
        """
        return frozenset(name for _, _, name in self._found(normal(caption).text))

    def spans(self, caption: str) -> list[NameSpan]:
        """Return every name in a caption, in order of appearance and with repeats.

        Example:
            >>> [span.name for span in Lexicon(["<momi>"]).spans("Momi's hat and <ZAZA>.")]
            ['<momi>', '<zaza>']
        """
        text = normal(caption)
        return sorted(
            NameSpan(*text.written(start, end), self._names.get(name, name))
            for start, end, name in self._found(text.text)
        )

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Names in a normal text: start, end, and the key or the invention. None overlap."""
        text = END_MARKS.sub(lambda mark: " " * len(mark[0]), text)
        found = [(*m.span(), self._in_brackets(m[1])) for m in _BRACKETED.finditer(text)]
        text = _BRACKETED.sub(_blank, text)
        for spelling in self._signs:
            for start, end in _bare_signs(text, _inside(spelling.text)):
                found.append((start, end, spelling.owner))
                text = text[:start] + "|" * (end - start) + text[end:]
        whole = Words(text)
        first = 0
        while first < len(whole.words):
            name, length = self._longest(whole, first)
            found += [] if name is None else [name]
            first += length
        return found

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
        if not inside.startswith("/"):
            plain = inside.strip(_MARKDOWN)
            for key in map(key_of, (inside, plain, _POSSESSIVE.sub("", plain))):
                if key in self._spellings:
                    return self._spellings[key].owner
        return f"<{' '.join(inside.casefold().split())}>"

    def _longest(self, whole: Words, first: int) -> tuple[tuple[int, int, str] | None, int]:
        """Return the name with most words that begins at a word, and its number of words."""
        before, found = "", (None, 1)
        for length in range(1, min(self._most_words, len(whole.words) - first) + 1):
            words = whole.words[first : first + length]
            folded = _folded(words[-1][0])
            for stem in stems(folded):
                spelling = self._spellings.get(before + stem)
                if spelling and self._fits(whole, words, before + stem, spelling):
                    found = ((words[0].start(), words[-1].end(), spelling.owner), length)
                    break
            before += folded
            if before not in self._beginnings:
                break
        return found

    def _fits(
        self, whole: Words, words: Sequence[regex.Match[str]], key: str, spelling: _Spelling
    ) -> bool:
        start, end = words[0].start(), words[-1].end()
        said = whole.text[start:end]
        if not whole.is_whole(start, end):
            return False
        if len(key) == 1 and (
            said != _inside(spelling.text) or _OTHER_CLITIC.match(whole.text, end)
        ):
            return False
        is_capital_known = spelling.has_capital and not whole.text.isupper()
        if spelling.has_capital and said.islower():
            return False
        ordinary = _FUNCTION_WORDS if is_capital_known else self._ordinary
        if key.isdecimal() or (key in ordinary and not _is_clear(whole.text, start, said)):
            return False
        return _gaps_fit(whole.text, words, spelling)


@lru_cache(maxsize=1024)  # a pool has many captions
def lexicon_of(pool: tuple[str, ...]) -> Lexicon:
    """The names of a prompt."""
    return Lexicon(pool)


def count_names(
    caption: str,
    targets: Collection[str],
    lexicon: Lexicon,
    *,
    elsewhere: Collection[str] = (),
) -> NameCounts:
    """Compare the names in a caption with who is in the picture.

    Args:
        caption: the text.
        targets: the names that it should use.
        lexicon: every name that may be used.
        elsewhere: names of others who are in the picture too: neither wanted nor wrong.

    Example:
        >>> lexicon = Lexicon(["<bo>", "<mi>", "<ironman>"])
        >>> count_names("Bo, Iron Man and <zaza>", ["<bo>", "<mi>"], lexicon)
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
    for word in Words(inside).words:
        if end is not None:
            breaks[letters] = inside[end : word.start()].strip()
        for hump in _HUMP.finditer(word[0]):
            breaks[letters + len(_folded(word[0][: hump.start()]))] = ""
        letters += len(_folded(word[0]))
        end = word.end()
    return _Spelling(owner, name, any(map(str.isupper, inside)), breaks)


def _gaps_fit(text: str, words: Sequence[regex.Match[str]], spelling: _Spelling) -> bool:
    """Whether words are parted only where the name may be."""
    letters, num_foreign = 0, 0
    for left, right in pairwise(words):
        letters += len(_folded(left[0]))
        gap = text[left.end() : right.start()]
        is_parted = _PARTED.fullmatch(gap) is not None
        if letters in spelling.breaks:
            if not is_parted and gap.strip() not in ("", spelling.breaks[letters]):
                return False
        else:
            num_foreign += 1
            shortest = min(len(left[0]), len(right[0]))
            if not is_parted or num_foreign > 1 or shortest < _SHORTEST_PIECE:
                return False
    return True


def _is_clear(text: str, start: int, said: str) -> bool:
    """Whether a word can only be a name: by its "_", by "named", by a capital that tells."""
    if "_" in said or _INTRODUCED.match(text, 0, start):
        return True
    before = _TELLING.search(text, 0, start)
    is_inside = before is not None and before[0] not in ".!?:;\n…。！？"
    return said[0].isupper() and said != "I" and is_inside and not _is_titled(text)


@lru_cache(maxsize=8)
def _is_titled(text: str) -> bool:
    """Whether all long words have a capital, which then says nothing of one of them."""
    words = _LONG_WORD.findall(text)
    return text.isupper() or (len(words) > 2 and all(word[0].isupper() for word in words))


def _bare_signs(text: str, name: str) -> list[tuple[int, int]]:
    """Where a name of signs stands, and is not a part of another sign or word."""
    if not (_letters(name) or _SIGN.search(name)):
        return []
    whole, found = Words(text), []
    for match in re.finditer(re.escape(name), text):
        start, end = match.span()
        is_part = text[start - 1 : start] == _JOINT or text[end : end + 1] in (
            *_JOINT,
            *_SKIN_TONES,
        )
        if whole.is_whole(start, end) and not is_part:
            found.append((start, end))
    return found


def _blank(match: re.Match[str]) -> str:
    # What follows a bracketed name is no word's beginning: the "s" of "<bo>'s".
    return "|" * len(match[0])


def _letters(inside: str) -> str:
    return _folded("".join(word[0] for word in Words(inside).words))


def _signs(inside: str) -> str:
    return "".join(_folded(inside).split())


def _folded(text: str) -> str:
    """In small letters: Turkish's four letters i are one, since the capital of each may be "I"."""
    return text.casefold().replace("i\u0307", "i").replace("ı", "i")


def _inside(name: str) -> str:
    return normal(name).text.removeprefix("<").removesuffix(">").strip()
