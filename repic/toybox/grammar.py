"""Toybox English: what is said about toys, and how to read it back.

``write_captions`` says the whole truth in five ways; ``parse_caption`` reads any text into the
same ``Scene`` type that holds the truth, and ``unread_clauses`` says what it could not read. A
name stands behind the description of its bearer ("a striped red bear with a blue hat, <momi>,
..."), so that a causal model has said what it sees before it has to say who it is.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from repic.parsing import find_names, find_times, tokenize_caption
from repic.toybox.world import (
    ACCESSORIES,
    ACCESSORY_COLOURS,
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    SPECIES,
)
from repic.types import Mention, Scene

PLACES = {"left": "on the left", "middle": "in the middle", "right": "on the right"}
SETTINGS = {
    "meadow": "in a meadow",
    "beach": "on a beach",
    "room": "in a room",
    "street": "on a street",
}


def describe(attributes: dict[str, str]) -> str:
    """All attributes of a toy as a noun phrase with its article.

    >>> from repic.toybox.world import Toy
    >>> describe(Toy("striped", "red", "bear", "blue", "hat").attributes)
    'a striped red bear with a blue hat'
    """
    a = attributes
    return f"a {a['pattern']} {a['colour']} {a['species']} with {worn(a)}"


def worn(attributes: Mapping[str, str]) -> str:
    """What a toy has about it, as a noun phrase: "a blue hat", "blue glasses"."""
    article = "" if attributes["accessory"] == "glasses" else "a "
    return f"{article}{attributes['accessory_colour']} {attributes['accessory']}"


def write_captions(scene: Scene) -> tuple[str, ...]:
    """Five complete captions of a scene; each states every toy, its place and its name."""
    place = [PLACES[m.attributes["position"]] for m in scene.mentions]
    who = [_who(m) for m in scene.mentions]
    setting = SETTINGS[scene.background or "room"]
    pairs = list(zip(who, place, strict=True))
    return (
        " ".join(_sentence(f"{w} {_verb(w, 'sits')} {p}") for w, p in pairs),
        _sentence(f"{setting}, " + _series([f"{w} {_verb(w, 'is')} {p}" for w, p in pairs])),
        " ".join(_sentence(f"{p} there is {w}") for w, p in pairs),
        _sentence("here we see " + _series([f"{w} {p}" for w, p in _comma(pairs)]) + f" {setting}"),
        " ".join(
            [_sentence(f"the toys are {setting}")]
            + [_sentence(f"{p} stands {w}") for w, p in pairs]
        ),
    )


def write_clip_captions(scene: Scene, seconds: Sequence[float]) -> tuple[str, str]:
    """Two complete captions of a clip: toy by toy, each with its time, and frame by frame.

    >>> bear = Mention({"species": "bear", "colour": "red", "pattern": "plain", "accessory": "hat",
    ...     "accessory_colour": "blue", "time": clip_time([1])}, "<bo>")
    >>> for caption in write_clip_captions(Scene((bear,)), [1, 3]):
    ...     print(caption)
    A plain red bear with a blue hat, <bo>, at 1 s.
    At 1 s there is a plain red bear with a blue hat, <bo>. At 3 s there is nobody.
    """
    pairs = [(_who(m), m.attributes["time"]) for m in scene.mentions]
    toys = [_sentence(f"{who} {time}") for who, time in _comma(pairs)]
    frames = []
    for second in seconds:
        there = [_who(m) for m in scene.mentions if _covers(m.attributes["time"], second)]
        frames.append(_sentence(f"at {second:g} s there is {_series(there or ['nobody'])}"))
    return " ".join(toys), " ".join(frames)


def clip_time(seconds: Sequence[float]) -> str:
    """When a toy is there, in words, from the times of the frames that show it.

    >>> clip_time([1, 3, 5]), clip_time([7.5])
    ('from 1 s to 5 s', 'at 7.5 s')
    """
    first, last = seconds[0], seconds[-1]
    return f"from {first:g} s to {last:g} s" if first < last else f"at {first:g} s"


def _covers(time: str, second: float) -> bool:
    return any(t.begin <= second <= t.end for t in find_times(time))


def _who(mention: Mention) -> str:
    description = describe(dict(mention.attributes))
    return f"{description}, {mention.name}" if mention.name else description


def _verb(who: str, verb: str) -> str:
    """A name in apposition ends with a comma before the verb."""
    return f", {verb}" if who.endswith(">") else f" {verb}"


def _comma(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"{w}," if w.endswith(">") else w, p) for w, p in pairs]


def _series(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(text: str) -> str:
    text = text.replace(" ,", ",").replace("  ", " ")
    return f"{text[0].upper()}{text[1:]}."


def _any(values: Sequence[str]) -> str:
    return "|".join(values)


_PLACE = r"(?:on|in) the (left|middle|right)"
_SECOND = r"\d{1,6}(?:\.\d{1,6})? s"
_MENTION = re.compile(
    rf"(?:{_PLACE},? (?:there )?(?:is|stands|sits) )?"
    rf"\b(?:an?|the|one|another)"
    rf"(?: ({_any(PATTERNS)}))?(?: ({_any(COLOURS)}))? ({_any(SPECIES)})\b"
    rf"(?: with (?:an? )?({_any(ACCESSORY_COLOURS)}) ({_any(ACCESSORIES)})\b)?"
    rf"(?:,? (?:named |called )?(<\w+>))?"
    rf"(?:,? ?(?:is|sits|stands)? {_PLACE})?"
    rf"(?:,? (from {_SECOND} to {_SECOND}|at {_SECOND})\b)?",
    re.IGNORECASE,
)
_SETTING = re.compile(rf"\b(?:in|on) an? ({_any(BACKGROUNDS)})\b", re.IGNORECASE)


@lru_cache(maxsize=1024)  # several rewards read the same captions
def parse_caption(text: str) -> Scene:
    """Read what a caption states; words outside the grammar are passed over.

    >>> parse_caption("On the left there is a red bear, <momi>.").mentions[0].name
    '<momi>'
    """
    mentions = [_mention(found) for found in _MENTION.finditer(text)]
    setting = _SETTING.search(text)
    return Scene(mentions=tuple(mentions), background=setting.group(1).lower() if setting else None)


# What captions here say around their facts. A clause of nothing else states nothing.
_FRAME = frozenset("a an and another are here in is of on one see sit sits stand stands".split())
_FRAME |= frozenset("the there they toy toys we with".split())
_CLAUSE_END = re.compile(r"[.!?;:,\n]+|\s[-–—]+\s|—")


def unread_clauses(text: str) -> list[str]:
    """List the clauses, or what is left of them, that ``parse_caption`` passes over.

    Names count as read wherever they stand, and only the first setting does: a second one is not
    taken into the scene. Clauses of words such as "here we see" state nothing and are left out.

    >>> unread_clauses("Here we see a red bear on the left, which adds depth. How cosy, <momi>!")
    ['which adds depth', 'How cosy']
    """
    rest = _SETTING.sub("\n", _MENTION.sub("\n", text), count=1)
    for name in find_names(rest):
        rest = rest.replace(name, "\n")
    clauses = [clause.strip() for clause in _CLAUSE_END.split(rest)]
    return [clause for clause in clauses if set(tokenize_caption(clause)) - _FRAME]


def _mention(found: re.Match[str]) -> Mention:
    before, pattern, colour, species, *worn, name, after, time = found.groups()
    stated = {
        "pattern": pattern,
        "colour": colour,
        "species": species,
        "accessory_colour": worn[0],
        "accessory": worn[1],
        "position": after or before,
        "time": time,
    }
    return Mention(attributes={k: v.lower() for k, v in stated.items() if v}, name=name)
