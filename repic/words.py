"""Where words begin and end, in any script and spelling: what all that looks for names agrees on.

1. Signs of one meaning are one: apostrophes (U+2019, U+02BC, U+FF07, ...), hyphens, full-width
   forms, composed and decomposed letters, HTML's entities. What is not seen at all (soft hyphens,
   zero-width spaces, variation selectors) is nothing, and so are Arabic's and Hebrew's vowel
   points, which a writer may leave out, and the stroke that stretches an Arabic word.
2. Scripts that put no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, ...)
   have a word boundary wherever no syllable is cut: between a letter with its vowel signs, tones
   and final consonant and the next. Katakana is the exception: a run of it is one word.
3. Elsewhere a word is a run of letters, digits and the marks on them. What a hyphen, an
   apostrophe or a "_" joins to other letters is no whole word: "bo-peep", "un-bo", "bo_2",
   "O'Brien", "don't". Markdown's marks join nothing: *bo*, _bo_, _with bo_; nor does what French
   and Italian elide: "d'Anna", "dell'Anna".
4. Korean particles, and Arabic's and Hebrew's one-letter prefixes, are written on the word.
"""

import html
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import regex

_APOSTROPHES = "\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u00b4\u0060\u2032"
_APOSTROPHES += "\u055a\u05f3\u07f4\u07f5\u1fbd\u1fbf\u275b\u275c\ua78c"
_HYPHENS = "\u2010\u2011\u2043\ufe63\u058a\u05be\u1806"
_DOTS = "\u2027\u2219\u22c5\u30fb\uff65"  # that part the words of a foreign name
_ONE_FOR_ALL = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
        **dict.fromkeys(_APOSTROPHES, "'"),
        **dict.fromkeys(_HYPHENS, "-"),
        **dict.fromkeys(_DOTS, "\u00b7"),
        "\u05f4": '"',
        "\u3000": " ",
    }
)
_UNIT = regex.compile(r"&#?\w{2,8};|\X", regex.DOTALL)
_VARIANTS = regex.compile(r"[\uFE00-\uFE0F\U000E0100-\U000E01EF]")
_POINTS = r"\u0640\u064B-\u0652\u0670\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7"
_UNSEEN = regex.compile(rf"[\p{{Cf}}\p{{Default_Ignorable_Code_Point}}{_POINTS}]")
_EMOJI = regex.compile(r"\p{Extended_Pictographic}")

_SCRIPTS = (
    "Han Hiragana Thai Lao Khmer Myanmar Tai_Le New_Tai_Lue Tai_Tham Tai_Viet Javanese Balinese"
    " Yi Bopomofo Nushu Tangut"
).split()
_UNSPACED = "".join(rf"\p{{{script}}}" for script in _SCRIPTS)
_KATAKANA = r"(?:[\p{Katakana}\u30FC]\p{M}*)+"
# Thai's and Lao's vowels before and after their consonant are letters; a consonant below another
# follows a virama (Khmer's coeng, Burmese's stack); one with an asat ends its syllable.
_SYLLABLE = (
    rf"[เ-ไເ-ໄ]?[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]"
    rf"(?:\p{{M}}|[ะาๅະາຽ\u30FC]|(?<=[\u17D2\u1039])\p{{L}}|[က-အ](?=\u1037?[\u103A\u1039]))*"
)
_LETTERS = rf"(?:[[\p{{L}}\p{{N}}]--[{_UNSPACED}\p{{Katakana}}\u30FC]]\p{{M}}*)+"
_WORD = regex.compile(rf"(?V1){_KATAKANA}|{_SYLLABLE}|{_LETTERS}")

_IS_UNSPACED = regex.compile(rf"(?V1)[{_UNSPACED}]")
_SPACED = rf"[[\w|]--[_{_UNSPACED}]]"
_ELIDED = r"(?<![\p{L}\p{N}'-])(?:[dlL]|(?:jus|lors|puis)?qu|(?:a|da|de|ne|su)ll)'"
_JOINED_BEFORE = regex.compile(rf"(?V1)(?<={_SPACED}[-']|[[{_SPACED}]--[|]]_+)(?<!{_ELIDED})")
_JOINED_AFTER = regex.compile(
    rf"(?V1)-{_SPACED}|_+[[{_SPACED}]--[|]]|'(?:(?!S(?!\w))\p{{Lu}}|t(?!\w))"
)
_OPENS_EMPHASIS = regex.compile(r"(?<!\w)_+(?=[^\s_])")
_CLOSES_EMPHASIS = regex.compile(r"(?<=[^\s_])_+(?!\w)")
_LETTER = regex.compile(r"\p{L}")

_PARTICLES = (
    "이 가 은 는 을 를 의 에 에서 에게 에게서 께 께서 와 과 랑 하고 도 만 뿐 부터 까지 로 으로"
    " 야 아 여 씨 님 네 들 처럼 보다 마저 조차 밖에 라고 라는 이다 입니다 이에요 예요 였다"
).split()
_PARTICLE = regex.compile(rf"이?(?:{'|'.join(_PARTICLES)}){{1,2}}")
_PREFIXES = regex.compile(r"([وفبلك]{1,2})(?=\p{Arabic}{3})|([ובלמשכה]{1,2})(?=\p{Hebrew}{3})")


class Normal(NamedTuple):
    """A text in one spelling, and where each of its characters comes from.

    ``starts`` and ``ends`` are places in the text as it was written; None: the same.
    """

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def written(self, start: int, end: int) -> tuple[int, int]:
        """The part of the written text that became ``text[start:end]``, which is not empty."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def normal(text: str) -> Normal:
    """Spell a text in the one way.

    Example:
        >>> normal("Zoe\u0308 meets Ｏ’Brien").text
        "Zoë meets O'Brien"
    """
    if text.isascii() and "&" not in text and "`" not in text:
        return Normal(text)
    found: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for unit in _UNIT.finditer(text):
        clean = _clean(unit[0])
        found.append(clean)
        starts += [unit.start()] * len(clean)
        ends += [unit.end()] * len(clean)
    return Normal("".join(found), starts, ends)


class Words:
    """The words of a normal text, as matches, and which of its parts are whole words.

    Example:
        >>> [word[0] for word in Words("Bo在草地上, タマも").words]
        ['Bo', '在', '草', '地', '上', 'タマ', 'も']
        >>> [Words(text).is_whole(0, 2) for text in ("bo's", "bo_", "boa", "bo-peep", "小白在")]
        [True, False, False, False, True]
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = list(_WORD.finditer(text))
        self._starts = {word.start() for word in self.words}
        self._ends = {word.end() for word in self.words}

    def is_whole(self, start: int, end: int) -> bool:
        """Whether ``text[start:end]`` begins and ends where words do; signs may be its ends.

        In a script without spaces a single letter counts only where no other stands beside it:
        elsewhere it is a part of some word.
        """
        text = self.text
        if _IS_UNSPACED.match(text, start) and len(_LETTER.findall(text, start, end)) == 1:
            beside = text[max(start - 1, 0) : start] + text[end : end + 1]
            return _LETTER.search(beside) is None
        return self._begins(start) and self._ends_at(end)

    def _begins(self, start: int) -> bool:
        if start not in self._starts:
            return not _is_of_word(self.text[start])
        if start and _is_of_word(self.text[start - 1]) and start not in self._ends:
            return False  # a mark that stands on no letter
        if _IS_UNSPACED.match(self.text, start):
            return True
        if self.text[start - 1 : start] == "_" and not _CLOSES_EMPHASIS.search(self.text, start):
            return False
        return not _JOINED_BEFORE.match(self.text, start)

    def _ends_at(self, end: int) -> bool:
        if end not in self._ends:
            return not _is_of_word(self.text[end - 1])
        if _IS_UNSPACED.match(self.text, end - 1):
            return True
        if self.text[end : end + 1] == "_" and not _OPENS_EMPHASIS.search(self.text, 0, end):
            return False
        return not _JOINED_AFTER.match(self.text, end)


def counted(number: int, what: str) -> str:
    """Count in words.

    Example:
        >>> counted(1, "concept"), counted(3, "concept")
        ('1 concept', '3 concepts')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def stems(word: str) -> Iterator[str]:
    """A word, then what is left of it without what its language writes on it.

    Example:
        >>> list(stems("민수는")), list(stems("ودانة")), list(stems("boa"))
        (['민수는', '민수'], ['ودانة', 'دانة'], ['boa'])
    """
    yield word
    if word.isascii():
        return
    for end in range(len(word) - 1, 1, -1):
        if _PARTICLE.fullmatch(word, end):
            yield word[:end]
    if prefix := _PREFIXES.match(word):
        yield word[prefix.end() :]


@lru_cache(maxsize=4096)
def _clean(unit: str) -> str:
    if len(unit) > 3 and unit[0] == "&":
        unit = html.unescape(unit)
    unit = unit.translate(_ONE_FOR_ALL)
    # Signs stay as they are: the letters of a trade mark belong to no name.
    unit = "".join(unicodedata.normalize("NFKC", c) if c.isalpha() else c for c in unit)
    # A joint between emoji makes another emoji of them.
    unit = _VARIANTS.sub("", unit) if _EMOJI.search(unit) else _UNSEEN.sub("", unit)
    return unicodedata.normalize("NFC", unit)


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
