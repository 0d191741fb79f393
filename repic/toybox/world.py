"""Who lives in the toybox: plush toys, their names, and which of them belong to which split.

A toy's identity is its attributes; nothing else tells two toys apart. Identities and names are
dealt to the splits by a hash of what they are, so that membership never depends on the order in
which anything is generated, and a toy or a name of one split cannot occur in another.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

SPECIES = ("bear", "rabbit", "cat", "dog", "elephant", "frog", "duck", "pig")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
PATTERNS = ("plain", "striped", "spotted", "two-toned")
ACCESSORIES = ("hat", "scarf", "bow", "glasses", "balloon")
ACCESSORY_COLOURS = ("red", "yellow", "green", "blue", "white", "black")
BACKGROUNDS = ("meadow", "beach", "room", "street")

SLOTS = ("pattern", "colour", "species", "accessory_colour", "accessory")
VALUES: dict[str, tuple[str, ...]] = {
    "pattern": PATTERNS,
    "colour": COLOURS,
    "species": SPECIES,
    "accessory_colour": ACCESSORY_COLOURS,
    "accessory": ACCESSORIES,
}

SPLITS = ("train", "val", "test")
# Shares of the hash range: 70 % of the identities (and of the names) are for training.
SPLIT_BOUNDS = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"
SYLLABLES = tuple(c + v for c, v in product(CONSONANTS, VOWELS))
# English (or unkind) words that two syllables happen to spell.
NOT_NAMES = frozenset(
    "bare base bide bite bone care dare date dope dude fake fire fuse game gate hide home hope"
    " kite lame lane late life like line lone love made make male mane mare mate mere mice mine"
    " more name nude papa pipe rape rate ride rope rude safe sale same save side site size some"
    " sore take tale tame tape time tire tone tube tune vase vote zone nazi homo hobo judo kilo"
    " limo memo menu mini polo pope puma sofa soda solo tuna veto visa dodo dike".split()
)


@dataclass(frozen=True, order=True)
class Toy:
    """One being. Two toys with equal attributes are the same being."""

    pattern: str
    colour: str
    species: str
    accessory_colour: str
    accessory: str

    @property
    def attributes(self) -> dict[str, str]:
        return {slot: getattr(self, slot) for slot in SLOTS}

    def differences(self, other: "Toy") -> int:
        """Number of attributes in which two toys differ (0 for the same being)."""
        return sum(getattr(self, slot) != getattr(other, slot) for slot in SLOTS)


def _share(kind: str, what: str) -> float:
    """A number in [0, 1) that depends on the text alone, on every machine."""
    digest = hashlib.sha256(f"{kind}:{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of_toy(toy: Toy) -> str:
    """The split an identity belongs to."""
    return _split("toy", " ".join(toy.attributes.values()))


def split_of_name(name: str) -> str:
    """The split a bracketed name belongs to."""
    return _split("name", name)


def _split(kind: str, what: str) -> str:
    share = _share(kind, what)
    return next(s for s, (low, high) in SPLIT_BOUNDS.items() if low <= share < high)


@cache
def toys(split: str) -> tuple[Toy, ...]:
    """Every identity of a split, in a fixed order. An accessory never has the toy's own colour."""
    every = (Toy(*values) for values in product(*(VALUES[slot] for slot in SLOTS)))
    return tuple(t for t in every if t.accessory_colour != t.colour and split_of_toy(t) == split)


@cache
def names(split: str) -> tuple[str, ...]:
    """Every name of a split, with brackets: two different syllables, such as ``<momi>``."""
    words = (a + b for a, b in product(SYLLABLES, SYLLABLES) if a != b)
    return tuple(f"<{w}>" for w in words if w not in NOT_NAMES and split_of_name(f"<{w}>") == split)


@cache
def first_syllables(split: str) -> frozenset[str]:
    """What the names of a split begin with."""
    return frozenset(name[1:3] for name in names(split))


def draw_names(split: str, count: int, rng: random.Random) -> list[str]:
    """Sample ``count`` names of a split, as far as possible with different first syllables."""
    chosen: dict[str, str] = {}
    if count > len(first_syllables(split)):
        return rng.sample(names(split), count)
    while len(chosen) < count:
        name = rng.choice(names(split))
        chosen.setdefault(name[1:3], name)
    return list(chosen.values())


@cache
def lookalikes(toy: Toy, split: str) -> tuple[Toy, ...]:
    """The toys of a split that differ from ``toy`` in exactly one attribute; may be empty."""
    others = (replace(toy, **{slot: value}) for slot in SLOTS for value in VALUES[slot])
    return tuple(
        t
        for t in others
        if t != toy and t.accessory_colour != t.colour and split_of_toy(t) == split
    )
