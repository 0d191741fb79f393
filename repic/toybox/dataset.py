"""Examples of the toybox's tasks, each determined by (seed, split, task, index) alone."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Predicate

from repic.toybox import scene as stage
from repic.toybox.grammar import describe, write_captions
from repic.toybox.world import SLOTS, SPLITS, Toy, draw_names, lookalikes, toys
from repic.types import Example, ImageSource, Mention, Reference, Scene, SceneIdentities
from repic.values import ConceptCounts, Count, Questions, Scale, Seed, Share, is_range

MOST_OTHERS = 8  # strangers in a scene, and references to those who are not there


Split = Annotated[str, Predicate(SPLITS.__contains__)]
Range = Annotated[Sequence[Annotated[int, Ge(0), Le(MOST_OTHERS)]], Predicate(is_range)]


@dataclass(frozen=True)
class SceneRules:
    """How prompts are made hard; every number is a share in [0, 1] or a range of counts.

    Attributes:
        absent: how many references show toys that are not in the scene (least, most).
        lookalike: share of absent references that differ in one attribute from a named toy that
            is in the scene (the rest are other toys).
        strangers: how many unnamed toys stand in the scene (least, most), where it has room.
        drop_image, drop_info: share of references that lack the picture, or the info sentence.
        omit, swap: share of targets in which one name is left out, or replaced by another
            reference's. Answers are never touched.
    """

    absent: Range
    lookalike: Share
    strangers: Range
    drop_image: Share
    drop_info: Share
    omit: Share
    swap: Share


def weights_of(counts: ConceptCounts) -> dict[int, float]:
    """Concept counts with their weights; ``ValueError`` if nothing can be drawn.

    >>> weights_of([1, 1, 1, 2])
    {1: 3, 2: 1}
    """
    weights: dict[int, float] = dict(counts if isinstance(counts, Mapping) else Counter(counts))
    if not sum(weights.values()):
        raise ValueError("concepts.counts: no count has a weight above 0")
    return weights


@dataclass(eq=False, kw_only=True)
class CaptionDataset:
    """Personalized captions of scenes: ``dataset[i]`` is the i-th example, for ever the same.

    Attributes:
        split: "train", "val" or "test"; decides which toys and names may occur.
        counts: numbers of named toys in a scene: a list, in which a number may stand more than
            once, or weights by count.
        size: number of examples.
        seed: another seed gives other examples of the same kind.
        rules: see ``SceneRules``.
        questions: ways to ask; one is chosen for each example.
        scale: resolution of the pictures; 1 is what the tiny model reads.
    """

    follows_from_settings: ClassVar = True  # see repic.data.contents
    kind: ClassVar = "caption"  # of examples; in their keys

    split: Split = field(kw_only=False)
    counts: ConceptCounts
    size: Count
    seed: Seed
    rules: SceneRules
    questions: Questions
    scale: Scale

    def __post_init__(self) -> None:
        self.weights = weights_of(self.counts)

    @property
    def series(self) -> str:
        """What the keys of its examples begin with."""
        return f"{self.seed}/{self.split}/{self.kind}"

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(self.size))

    def __getitem__(self, index: int) -> Example:
        return self._example(index, self.rules)

    def _example(self, index: int, rules: SceneRules) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        key = f"{self.series}/{'+'.join(map(str, self.weights))}/{index}"
        rng = random.Random(f"toybox/{key}")
        count = rng.choices(list(self.weights), list(self.weights.values()))[0]
        return self.make(key, count, rng, rules)

    def make(self, key: str, count: int, rng: random.Random, rules: SceneRules) -> Example:
        """Make the example of a key."""
        return caption_example(key, self.split, count, rng, rules, self.questions, self.scale)

    def identities(self, index: int) -> SceneIdentities:
        """Say who is who in an example: a portrait of everybody introduced, and every toy shown."""
        example = self[index]
        # The same dice, so that the same portraits are taken, and none is withheld.
        pictured = self._example(index, replace(self.rules, drop_image=0.0))
        assert example.scene is not None
        return SceneIdentities(
            references=tuple(
                replace(own, image=other.image)
                for own, other in zip(example.references, pictured.references, strict=True)
            ),
            introduced=frozenset(
                being(toy.attributes)
                for reference in pictured.references
                if isinstance(reference.image, stage.ToyboxImage)
                for toy, _ in reference.image.beings
            ),
            shown=frozenset(being(mention.attributes) for mention in example.scene.mentions),
        )


def being(attributes: Mapping[str, str]) -> str:
    """A toy's identity is its attributes."""
    return " ".join(attributes[slot] for slot in SLOTS)


def caption_example(
    key: str,
    split: str,
    count: int,
    rng: random.Random,
    rules: SceneRules,
    questions: Sequence[str],
    scale: float,
) -> Example:
    """One personalized caption with ``count`` named toys in the scene."""
    named, strangers, absent = sample_identities(split, count, rng, rules)
    names = draw_names(split, count + len(absent), rng)
    concepts = list(zip([*named, *absent], names, strict=True))
    return scene_example(key, concepts, count, strangers, rng, rules, questions, scale)


def scene_example(
    key: str,
    concepts: Sequence[tuple[Toy, str]],
    count: int,
    strangers: Sequence[Toy],
    rng: random.Random,
    rules: SceneRules,
    questions: Sequence[str],
    scale: float,
    references: tuple[Reference, ...] = (),
) -> Example:
    """A scene of the first ``count`` concepts and of strangers; see ``caption_example``.

    Args:
        concepts: toys that the prompt introduces, with their names.
        references: introduce them; if there are none, portraits that are made for the scene.
    """
    in_scene: list[tuple[Toy, str | None]] = [
        *concepts[:count],
        *((toy, None) for toy in strangers),
    ]
    rng.shuffle(in_scene)
    beings = [toy for toy, _ in in_scene]
    picture, poses = stage.arrange(beings, f"{key}/scene", scale=scale)
    scene = stage.ground_truth(beings, [name for _, name in in_scene], poses, picture)
    references = references or make_references(concepts, key, rng, rules, scale)
    answers = write_captions(scene)
    return Example(
        id=f"toybox/{key}",
        task="caption",
        references=references,
        query=picture,
        question=rng.choice(list(questions)),
        target=imperfect_target(scene, [name for _, name in concepts], rng, rules),
        answers=answers,
        present=tuple(m.name for m in scene.mentions if m.name),
        num_concepts=count,
        scene=scene,
    )


def sample_identities(
    split: str, count: int, rng: random.Random, rules: SceneRules
) -> tuple[list[Toy], list[Toy], list[Toy]]:
    """Choose who is named, who is a stranger and who is absent; all are different toys."""
    taken: set[Toy] = set()

    def one_of(candidates: Sequence[Toy]) -> Toy:
        toy = rng.choice(candidates)
        while toy in taken:
            toy = rng.choice(candidates)
        taken.add(toy)
        return toy

    def absentee() -> Toy:
        alike = [t for t in lookalikes(rng.choice(named), split) if t not in taken]
        return one_of(alike if alike and rng.random() < rules.lookalike else toys(split))

    named = [one_of(toys(split)) for _ in range(count)]
    room = stage.MAX_BEINGS - count
    strangers = [one_of(toys(split)) for _ in range(min(rng.randint(*rules.strangers), room))]
    absent = [absentee() for _ in range(rng.randint(*rules.absent))]
    return named, strangers, absent


def make_references(
    concepts: Sequence[tuple[Toy, str]],
    key: str,
    rng: random.Random,
    rules: SceneRules,
    scale: float,
) -> tuple[Reference, ...]:
    """Introduce toys by picture, info or both, in random order."""
    references = []
    for i, (toy, name) in enumerate(concepts):
        image: ImageSource | None = stage.portrait(toy, f"{key}/ref{i}", scale=scale)
        info: str | None = describe(toy.attributes)
        chance = rng.random()
        if chance < rules.drop_image:
            image = None
        elif chance < rules.drop_image + rules.drop_info:
            info = None
        references.append(Reference(name=name, info=info, image=image))
    rng.shuffle(references)
    return tuple(references)


def imperfect_target(
    scene: Scene,
    pool: Sequence[str],
    rng: random.Random,
    rules: SceneRules,
    write: Callable[[Scene], Sequence[str]] = write_captions,
) -> str:
    """One of the captions, with a name left out or swapped in some, as in collected data."""
    mentions = list(scene.mentions)
    bearers = [i for i, m in enumerate(mentions) if m.name]
    chance, style = rng.random(), rng.randrange(5)
    if bearers and chance < rules.omit + rules.swap:
        i = rng.choice(bearers)
        others = [name for name in pool if name != mentions[i].name]
        name = None if chance < rules.omit or not others else rng.choice(others)
        mentions[i] = Mention(mentions[i].attributes, name, mentions[i].box)
    captions = write(replace(scene, mentions=tuple(mentions)))
    return captions[style % len(captions)]


class CaptionCorpus:
    """The reference captions of a dataset, without its pictures: for document frequencies."""

    def __init__(self, dataset: CaptionDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[list[str]]:
        return (list(example.answers) for example in self.dataset)
