"""What a policy might try instead of looking, under the weights that we ship.

The world here is a small one of the test's own: beings with a colour, a species and a place. Every
shipped configuration is tried on scenes of the toybox by tests/integration/test_stuffing.py.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from repic.detectors.annotations import ground_truth_entities
from repic.rewards.binding import BindingReward
from repic.rewards.quality import QualityReward
from repic.rewards.recognition import RecognitionReward
from repic.rewards.rubric import Rubric
from repic.types import Example, Mention, Reference, Scene
from tests.properties import at_most
from tests.unit.rewards.test_claims import rollout

CONF = Path(__file__).parents[3] / "repic/conf" / "reward"
SHIPPED = OmegaConf.load(CONF / "combined.yaml").rubric
COLOURS = "red green blue pink grey".split()
SPECIES = "bear cat dog owl frog".split()
PLACES = "left middle right".split()
SLOTS = {"colour": COLOURS, "species": SPECIES, "place": PLACES}
NAMES = [f"<{c}{v}>" for c in "bdfgklmn" for v in "aeiou"]
SENTENCE = re.compile(r"a (\w+) (\w+)(?:, (<[^>]+>),)? sits on the (\w+)", re.IGNORECASE)


def parse(text: str) -> Scene:
    return Scene(
        tuple(
            Mention({"colour": colour, "species": species, "place": place}, name or None)
            for colour, species, name, place in SENTENCE.findall(text)
        )
    )


def describe(mention: Mention) -> str:
    name = f", {mention.name}," if mention.name else ""
    a = mention.attributes
    return f"a {a['colour']} {a['species']}{name} sits on the {a['place']}"


def write(mentions: list[Mention]) -> str:
    return " ".join(f"A{describe(mention)[1:]}." for mention in mentions)


def make_example(num_present: int, num_absent: int, num_strangers: int, seed: int) -> Example:
    rng = random.Random(seed)
    size = num_present + num_absent + num_strangers
    looks = rng.sample([(c, s) for c in COLOURS for s in SPECIES], size)
    names = rng.sample(NAMES, num_present + num_absent)
    beings = [
        Mention(
            {"colour": colour, "species": species, "place": rng.choice(PLACES)},
            names[i] if i < len(names) else None,
        )
        for i, (colour, species) in enumerate(looks)
    ]
    absent = beings[num_present : num_present + num_absent]
    inside = [being for being in beings if being not in absent]
    rng.shuffle(inside)
    references = [
        Reference(b.name, f"a {b.attributes['colour']} {b.attributes['species']}", None)
        for b in beings
        if b.name
    ]
    rng.shuffle(references)
    scene = Scene(tuple(inside))
    answers = (write(inside), "Here " + write(inside), " and ".join(map(describe, inside)) + ".")
    return Example(
        id=f"{seed}",
        task="caption",
        references=tuple(references),
        answers=answers,
        present=tuple(being.name for being in inside if being.name),
        num_concepts=num_present,
        scene=scene,
    )


CORPUS = [make_example(i % 5 + 1, 1, i % 3, 1000 + i).answers for i in range(40)]
TASKS = ["caption"]
RUBRIC = Rubric(
    {
        "recognition": RecognitionReward(
            detector=ground_truth_entities,
            absent_cost=SHIPPED.rewards.recognition.absent_cost,
            tasks=TASKS,
        ),
        "binding": BindingReward(parser=parse, tasks=TASKS),
        "quality": QualityReward(parser=parse, corpus=CORPUS, tasks=TASKS),
    },
    OmegaConf.to_container(SHIPPED.weights),
)


@dataclass(frozen=True)
class Attempt:
    """What a policy that does not look, or does not mean it, has at hand."""

    example: Example

    @property
    def honest(self) -> str:
        return self.example.answers[0]

    @property
    def other(self) -> list[Mention]:
        """Another scene: everyone looks different and stands elsewhere."""
        return [
            replace(
                mention,
                attributes={
                    slot: values[(values.index(mention.attributes[slot]) + 1) % len(values)]
                    for slot, values in SLOTS.items()
                },
            )
            for mention in self.example.scene.mentions
        ]

    def without_the_name(self, name: str) -> str:
        mentions = self.example.scene.mentions
        return write([replace(m, name=None) if m.name == name else m for m in mentions])


POLICIES: dict[str, Callable[[Attempt], str]] = {
    "empty": lambda a: "",
    "name all": lambda a: " ".join(a.example.pool) + ".",
    "honest, then name all": lambda a: f"{a.honest} {' '.join(a.example.pool)}.",
    "repeat one name": lambda a: " ".join([a.example.present[0]] * 12) + ".",
    "closing tags": lambda a: a.honest.replace("<", "</"),
    "bare names": lambda a: re.sub(r"[<>]", "", a.honest),
    "made-up names": lambda a: re.sub(r"<(\w+)>", r"<\1x>", a.honest),
    "honest, then made-up names": lambda a: a.honest + " <xaxa> <xexe> <xixi>.",
    "copy the info": lambda a: " ".join(f"{r.info}, {r.name}." for r in a.example.references),
    "info as captions": lambda a: " ".join(
        f"A{r.info[1:]}, {r.name}, sits on the left." for r in a.example.references
    ),
    "honest sentence without end": lambda a: (a.honest.split(".")[0] + ". ") * 12,
    "honest caption twice": lambda a: f"{a.honest} {a.honest}",
    "another scene": lambda a: write([replace(m, name="<zaza>") for m in a.other]),
    "another scene with names": lambda a: write(a.other),
    "all values": lambda a: (
        " ".join(v for m in a.example.scene.mentions for v in m.attributes.values()) + "."
    ),
    "every being there could be": lambda a: write(
        [Mention({"colour": c, "species": s, "place": "left"}) for c in COLOURS for s in SPECIES]
    ),
    "nobody named": lambda a: re.sub(r", <\w+>,", "", a.honest),
}


def total(caption: str, example: Example) -> float:
    return RUBRIC.score([rollout(caption, example)]).totals(RUBRIC.weights).item()


sizes = st.tuples(
    st.integers(1, 5), st.integers(1, 2), st.integers(0, 2), st.integers(0, 400)
)  # present, absent, strangers, seed


@at_most(25)
@given(sizes)
def test_stuffing_earns_less_than_the_honest_caption(size: tuple[int, int, int, int]) -> None:
    attempt = Attempt(make_example(*size))
    honest = total(attempt.honest, attempt.example)
    # Complete but for one name: where two or more are there, still worth more than any trick.
    partial = total(attempt.without_the_name(attempt.example.present[-1]), attempt.example)
    for policy, write_stuffed in POLICIES.items():
        stuffed = total(write_stuffed(attempt), attempt.example)
        assert stuffed < 0.75 * honest, policy
        assert stuffed < partial or len(attempt.example.present) == 1, policy


@given(sizes)
def test_every_name_that_is_right_pays(size: tuple[int, int, int, int]) -> None:
    attempt = Attempt(make_example(*size))
    mentions = attempt.example.scene.mentions
    caption, earned = [replace(m, name=None) for m in mentions], []
    for i, mention in enumerate(mentions):
        caption[i] = mention
        if mention.name:
            earned.append(total(write(caption), attempt.example))
    assert earned == sorted(set(earned))


@given(sizes)
def test_names_at_the_wrong_beings_earn_less_than_one_name_left_out(
    size: tuple[int, int, int, int],
) -> None:
    attempt = Attempt(make_example(*size))
    present = attempt.example.present
    if len(present) < 3:
        return
    moved = dict(zip(present, present[1:] + present[:1], strict=True))
    scene = attempt.example.scene.mentions
    swapped = write([replace(m, name=moved.get(m.name)) for m in scene])
    partial = attempt.without_the_name(present[0])
    assert total(swapped, attempt.example) < total(partial, attempt.example)


@given(sizes)
def test_every_reference_caption_is_a_good_one(size: tuple[int, int, int, int]) -> None:
    attempt = Attempt(make_example(*size))
    for answer in attempt.example.answers[:2]:
        assert total(answer, attempt.example) > 0.8 * sum(RUBRIC.weights.tolist())
