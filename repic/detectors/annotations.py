"""Who is in the picture, as the data says: by its list, or by its reference answers.

``ground_truth_entities`` believes the list (``Example.present``). ``TextEntities`` is for data
whose captions were written by people who knew the names, but where nobody listed who is there.
``open_vocabulary`` looks at the picture instead.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from repic.parsing import find_names
from repic.types import Example
from repic.values import Text
from repic.words import Words, normal


def ground_truth_entities(example: Example) -> frozenset[str]:
    """The names truly in the picture, where the example knows them: a perfect detector."""
    return frozenset(example.present)


class TextEntities:
    """An entity detector: the prompt's names that a reference answer uses.

    A being counts as present if any answer has its name in brackets, or one of its spellings as
    words of their own. Where spellings overlap the first one wins, and of those that begin
    together the longest: "a black cat" is no use of the alias "cat" if "black cat" is somebody's.
    Inside a bracketed name no words are looked for.

    Args:
        aliases: further spellings by name, such as ``{"<bo>": ["my cat"]}``; upper or lower case
            does not matter in them, since a sentence may begin with one.
        bare_names: whether a name counts without its brackets, in the prompt's upper and lower
            case. Set it to false where names are ordinary words.
    """

    def __init__(self, aliases: Mapping[str, Sequence[Text]], *, bare_names: bool) -> None:
        self.aliases = _check(aliases, bare_names=bare_names)
        self.bare_names = bare_names

    def __call__(self, example: Example) -> frozenset[str] | None:
        """Return the names, or None for an example without answers, which tells nothing."""
        if not example.answers:
            return None
        spellings = self._spellings(example.pool)
        found = {name for text in example.answers for name in find_names(text, example.pool)}
        for text in example.answers:
            found |= _bare_names(text, spellings)
        return frozenset(found & set(example.pool))

    def _spellings(self, pool: Collection[str]) -> list[tuple[re.Pattern[str], str]]:
        """A pattern for each spelling, and whose spelling it is."""
        spellings = [(name, alias, "i") for name in pool for alias in self.aliases.get(name, ())]
        if self.bare_names:
            spellings += [(name, name.strip("<>"), "-i") for name in pool]
        # What is half in brackets is a broken name.
        return [
            (re.compile(rf"(?<!<)(?<!</)(?{case}:{_words(text)})(?!>)"), name)
            for name, text, case in spellings
        ]


def _bare_names(text: str, spellings: list[tuple[re.Pattern[str], str]]) -> set[str]:
    whole = Words(_without_names(normal(text).text))
    matches = [
        (match.start(), -match.end(), name)
        for pattern, name in spellings
        for match in pattern.finditer(whole.text)
        if whole.is_whole(*match.span())
    ]
    found, end = set(), 0
    for start, minus_end, name in sorted(matches):
        if start >= end:
            found.add(name)
            end = -minus_end
    return found


def _words(text: str) -> str:
    return r"\s+".join(map(re.escape, normal(text).text.split()))


def _without_names(text: str) -> str:
    """Blank out bracketed names, so that no word is found in one, or across one."""
    for name in find_names(text):
        text = text.replace(name, " | ")
    return text


def _check(aliases: Mapping[str, object], *, bare_names: bool) -> dict[str, tuple[str, ...]]:
    """Refuse aliases that name no one, or more than one."""
    owners = {name.strip("<>").lower(): name for name in aliases} if bare_names else {}
    checked: dict[str, tuple[str, ...]] = {}
    for name, spellings in aliases.items():
        if find_names(name) != [name]:
            raise ValueError(f"detector.aliases: {name!r} is no name; write it in brackets, <bo>")
        if not isinstance(spellings, list | tuple) or not all(
            isinstance(alias, str) for alias in spellings
        ):
            raise ValueError(f"detector.aliases.{name}: needs a list of texts, not {spellings!r}")
        checked[name] = tuple(spellings)
        for alias in spellings:
            key = " ".join(alias.lower().split())
            if not re.search(r"\w", key):
                raise ValueError(f"detector.aliases.{name}: {alias!r} has no word; take it out")
            if owners.setdefault(key, name) != name:
                raise ValueError(
                    f"detector.aliases.{name}: {alias!r} is also {owners[key]}'s; nobody could"
                    " tell whom it means, so take one out"
                )
    return checked
