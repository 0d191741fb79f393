"""Questions about a cast with options, in toybox English.

Of a picture: a scene of the cast, in which somebody is asked about, with strangers and others of
the cast, whose looks are the wrong options as far as they go. Of text alone: friends are introduced
by their infos, and the wrong options are what the others' infos say. So whoever looks at the wrong
toy, or in the wrong line, chooses wrongly; how much can be guessed is what the controls say.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from repic.parsing import LETTERS, check_asks, with_options
from repic.toybox.cast import CastScenes, members
from repic.toybox.dataset import SceneRules
from repic.toybox.grammar import PLACES, describe, worn
from repic.toybox.world import (
    ACCESSORIES,
    ACCESSORY_COLOURS,
    COLOURS,
    PATTERNS,
    SPECIES,
)
from repic.types import TEXT, VISUAL, Choice, Example, Reference
from repic.values import ConceptCounts, Count, Scale, Seed, Text

KINDS = (VISUAL, TEXT)
NUM_OPTIONS = 4
INTRODUCED = 3  # by an info each, where there is no picture


def _kind_of_toy(attributes: Mapping[str, str]) -> str:
    return f"{'an' if attributes['species'][0] in 'aeiou' else 'a'} {attributes['species']}"


_WORN = [
    worn({"accessory": a, "accessory_colour": c}) for a in ACCESSORIES for c in ACCESSORY_COLOURS
]
# What is asked: the question, the answer from what is known, and all answers there could be.
ASKED: dict[str, tuple[str, Callable[[Mapping[str, str]], str], list[str]]] = {
    "worn": ("What is {name} wearing or holding?", worn, _WORN),
    "colour": ("Which colour is {name}?", lambda a: a["colour"], [*COLOURS]),
    "species": (
        "What is {name}?",
        _kind_of_toy,
        [_kind_of_toy({"species": species}) for species in SPECIES],
    ),
    "pattern": ("Which pattern does {name} have?", lambda a: a["pattern"], [*PATTERNS]),
    "place": ("Where is {name}?", lambda a: PLACES[a["position"]], [*PLACES.values()]),
}
OF_INFO = tuple(slot for slot in ASKED if slot != "place")


class CastChoices:
    """Questions of both kinds in turn: ``choices[i]`` is the i-th, for ever.

    Args:
        cast: which one.
        per_kind: questions of each kind.
        seed: another seed gives other questions.
        counts, rules, has_info, scale: of the scenes; see ``CastScenes``.
        asks: the words of a prompt, with ``{question}`` and ``{options}``.
    """

    follows_from_settings = True

    def __init__(
        self,
        *,
        cast: Seed,
        per_kind: Count,
        seed: Seed,
        counts: ConceptCounts,
        rules: SceneRules,
        has_info: bool,
        asks: Text,
        scale: Scale,
    ) -> None:
        check_asks(asks, "data.ask.questions.asks")
        self.cast, self.per_kind, self.seed, self.asks = cast, per_kind, seed, asks
        self.scenes = CastScenes(
            cast=cast,
            counts=counts,
            size=per_kind,
            seed=seed,
            split="test",
            rules=rules,
            has_info=has_info,
            questions=["?"],
            scale=scale,
        )

    def __len__(self) -> int:
        return len(KINDS) * self.per_kind

    def __getitem__(self, index: int) -> Choice:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, kind = divmod(index, len(KINDS))
        rng = random.Random(f"toybox/cast/{self.cast}/{self.seed}/ask/{index}")
        return (self._visual, self._text)[kind](number, rng)

    def _visual(self, number: int, rng: random.Random) -> Choice:
        example = self.scenes[number]
        assert example.scene is not None
        who = rng.choice([m for m in example.scene.mentions if m.name])
        slot = list(ASKED)[number % len(ASKED)]
        others = [m.attributes for m in example.scene.mentions if m is not who]
        return self._choice(example, VISUAL, slot, str(who.name), who.attributes, others, rng)

    def _text(self, number: int, rng: random.Random) -> Choice:
        introduced = rng.sample(members(self.cast), INTRODUCED)
        who = rng.choice(introduced)
        slot = OF_INFO[number % len(OF_INFO)]
        example = Example(
            id=f"toybox/cast/{self.cast}/{self.seed}/ask/{number}",
            task="",
            references=tuple(
                Reference(m.name, describe(m.toy.attributes), None) for m in introduced
            ),
            num_concepts=1,
        )
        others = [m.toy.attributes for m in introduced if m is not who]
        return self._choice(example, TEXT, slot, who.name, who.toy.attributes, others, rng)

    def _choice(
        self,
        example: Example,
        kind: str,
        slot: str,
        name: str,
        known: Mapping[str, str],
        others: Iterable[Mapping[str, str]],
        rng: random.Random,
    ) -> Choice:
        question, answer_of, every = ASKED[slot]
        right = answer_of(known)
        more = rng.sample(every, len(every))
        wrong = dict.fromkeys([*(answer_of(other) for other in others), *more])
        wrong.pop(right, None)
        options = [right, *list(wrong)[: NUM_OPTIONS - 1]]
        rng.shuffle(options)
        answer = options.index(right)
        asked = replace(
            example,
            id=f"{example.id}/{kind}/{slot}",
            task=f"ask/{kind}",
            question=with_options(self.asks, question.format(name=name), options),
            target=LETTERS[answer],
            answers=(LETTERS[answer],),
        )
        return Choice(asked, tuple(options), answer)
