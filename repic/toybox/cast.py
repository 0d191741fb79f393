"""A cast of toys with names of their own, the same for every system that is compared on them.

Forty toys of the test split, in twenty pairs that differ in one attribute, each with fifteen
portraits in other poses and places: from the first ten, or fewer, a system may learn, and by the
last five it is asked. What it may learn that others are not are toys of the train split, so that
nothing it is asked about was shown to it under any name. Scenes hold one to five of the cast, with
strangers, and their prompts introduce some who are not there, look-alikes among both.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Literal, TypeVar

from annotated_types import Ge, Le

from repic.parsing import check_words
from repic.toybox import scene as stage
from repic.toybox.dataset import CaptionDataset, SceneRules, being, scene_example
from repic.toybox.grammar import describe
from repic.toybox.world import Toy, draw_names, lookalikes, toys
from repic.types import Example, Friend, Reference, SceneIdentities, Shot
from repic.values import Count, Scale, Seed, Text, Whole

SIZE, SPLIT, LEARNT_SPLIT = 40, "test", "train"
LEARNT, ASKED = 10, 5  # portraits to learn from, and to be asked about
KINDS = ("positive", "lookalike", "random", "absent")  # of questions; the answer to one is yes

T = TypeVar("T")
Pictures = Annotated[int, Ge(1), Le(LEARNT)]


@dataclass(frozen=True)
class Member:
    """One of a cast."""

    name: str
    toy: Toy

    def portrait(self, cast: int, number: int, scale: float) -> stage.ToyboxImage:
        """One of the portraits; those below ``LEARNT`` may be learnt from."""
        return stage.portrait(self.toy, f"cast/{cast}/{self.name}/{number}", scale=scale)


@cache
def members(cast: int) -> tuple[Member, ...]:
    """A cast, in pairs of look-alikes; another number is another cast."""
    rng = random.Random(f"cast/{cast}")
    pairs: dict[Toy, Toy] = {}
    for toy in rng.sample(toys(SPLIT), len(toys(SPLIT))):
        taken = {*pairs, *pairs.values()}
        alike = [] if toy in taken else [t for t in lookalikes(toy, SPLIT) if t not in taken]
        if len(alike) > 1:  # one stays a stranger
            pairs[toy] = rng.choice(alike)
        if 2 * len(pairs) == SIZE:
            break
    names = draw_names(SPLIT, SIZE, rng)
    everyone = [toy for pair in pairs.items() for toy in pair]
    return tuple(Member(name, toy) for name, toy in zip(names, everyone, strict=True))


def friends(*, cast: Seed, pictures: Pictures, negatives: Whole, scale: Scale) -> list[Friend]:
    """A cast, as a system may learn it.

    Args:
        cast: which one.
        pictures: of each, 1 to 10: the first ones.
        negatives: pictures of look-alikes, and as many of any others; toys of the train split.
        scale: resolution of the pictures.
    """
    return [_friend(member, cast, pictures, negatives, scale) for member in members(cast)]


def _friend(member: Member, cast: int, pictures: int, negatives: int, scale: float) -> Friend:
    rng = random.Random(f"cast/{cast}/{member.name}/negatives")
    info = describe(member.toy.attributes)
    captions = (f"A{info[1:]}, {member.name}.", f"Here we see {info}, {member.name}.")
    alike = lookalikes(member.toy, LEARNT_SPLIT) or toys(LEARNT_SPLIT)
    shown = {
        kind: tuple(
            stage.portrait(rng.choice(some), f"cast/{cast}/{member.name}/{kind}/{i}", scale=scale)
            for i in range(negatives)
        )
        for kind, some in (("alike", alike), ("other", toys(LEARNT_SPLIT)))
    }
    return Friend(
        name=member.name,
        info=info,
        category=member.toy.species,
        shots=tuple(Shot(member.portrait(cast, i, scale), captions) for i in range(pictures)),
        lookalikes=shown["alike"],
        others=shown["other"],
    )


@dataclass(eq=False, kw_only=True)
class CastScenes(CaptionDataset):
    """Captions of scenes with friends of a cast: ``dataset[i]`` is the i-th example, for ever.

    Attributes:
        cast: which one.
        split: "test"; there is no cast elsewhere.
        rules: ``absent``, of the cast, are introduced and not in the scene; ``strangers`` are not
            of the cast; ``lookalike`` is the share of both that look like somebody in the scene,
            where there is such a toy. The other rules are for training.
        has_info: references say what they show, too.
        others: see ``CaptionDataset``; the counts are of friends in a scene.
    """

    cast: Seed
    split: Literal["test"]  # pyright: ignore[reportIncompatibleVariableOverride]
    has_info: bool

    @property
    def series(self) -> str:
        return f"cast/{self.cast}/{self.seed}"

    def make(self, key: str, count: int, rng: random.Random, rules: SceneRules) -> Example:
        present = rng.sample(members(self.cast), count)
        absent = self._absent(present, rng)
        strangers = self._strangers(present, rng)
        rng.shuffle(pool := [*present, *absent])
        return scene_example(
            key,
            [(member.toy, member.name) for member in (*present, *absent)],
            count,
            strangers,
            rng,
            rules,
            self.questions,
            self.scale,
            tuple(introduce(m, self.cast, self.has_info, self.scale) for m in pool),
        )

    def identities(self, index: int) -> SceneIdentities:
        """Say who is who in an example."""
        example = self[index]
        assert example.scene is not None
        toys_of = {member.name: member.toy for member in members(self.cast)}
        return SceneIdentities(
            references=example.references,
            introduced=frozenset(being(toys_of[name].attributes) for name in example.pool),
            shown=frozenset(being(m.attributes) for m in example.scene.mentions),
        )

    def _absent(self, present: Sequence[Member], rng: random.Random) -> list[Member]:
        others = [member for member in members(self.cast) if member not in present]
        alike = [m for m in others if any(m.toy.differences(p.toy) == 1 for p in present)]
        return _draw(others, alike, rng.randint(*self.rules.absent), self.rules.lookalike, rng)

    def _strangers(self, present: Sequence[Member], rng: random.Random) -> list[Toy]:
        cast = {member.toy for member in members(self.cast)}
        others = [toy for toy in toys(SPLIT) if toy not in cast]
        alike = [t for p in present for t in lookalikes(p.toy, SPLIT) if t not in cast]
        return _draw(others, alike, rng.randint(*self.rules.strangers), self.rules.lookalike, rng)


def _draw(
    others: Sequence[T], alike: Sequence[T], number: int, share: float, rng: random.Random
) -> list[T]:
    """Different ones, some of them of those who look alike, as long as there are any."""
    chosen: list[T] = []
    while len(chosen) < number:
        left = [one for one in alike if one not in chosen]
        some = left if left and rng.random() < share else others
        one = rng.choice(some)
        if one not in chosen:
            chosen.append(one)
    return chosen


def introduce(member: Member, cast: int, has_info: bool, scale: float) -> Reference:
    """A reference with the first portrait that may be learnt from."""
    info = describe(member.toy.attributes) if has_info else None
    return Reference(member.name, info, member.portrait(cast, 0, scale))


@dataclass(frozen=True, kw_only=True)
class CastQuestions:
    """Whether a portrait shows a friend; the task of an example is ``recognize/<kind>``.

    Kinds, in equal numbers: "positive", a portrait of the friend that nobody has learnt from;
    "lookalike", a toy that differs from the friend in one attribute; "random", a portrait of
    another of the cast; "absent", a toy that is not of the cast. The last two differ in more.

    Attributes:
        cast: which one.
        per_kind: questions of each kind; the friends are asked about in turn.
        seed: another seed gives other questions.
        question: with ``{name}``.
        has_info: the reference says what it shows, too.
        scale: resolution of the pictures.
    """

    follows_from_settings: ClassVar = True

    cast: Seed
    per_kind: Count
    seed: Seed
    question: Text
    has_info: bool
    scale: Scale

    def __post_init__(self) -> None:
        check_words("data.recognize.questions.question", self.question, "name")

    def __len__(self) -> int:
        return len(KINDS) * self.per_kind

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        kind, number = KINDS[index % len(KINDS)], index // len(KINDS)
        key = f"cast/{self.cast}/{self.seed}/recognize/{kind}/{number}"
        rng = random.Random(f"toybox/{key}")
        everyone = members(self.cast)
        member = everyone[number % len(everyone)]
        picture = self._picture(kind, member, key, rng)
        answer = "yes" if kind == "positive" else "no"
        return Example(
            id=f"toybox/{key}",
            task=f"recognize/{kind}",
            references=(introduce(member, self.cast, self.has_info, self.scale),),
            query=picture,
            question=self.question.format(name=member.name),
            target=answer,
            answers=(answer,),
            present=(member.name,) if kind == "positive" else (),
            num_concepts=1,
        )

    def _picture(
        self, kind: str, member: Member, key: str, rng: random.Random
    ) -> stage.ToyboxImage:
        everyone = members(self.cast)
        if kind in ("positive", "random"):
            others = [m for m in everyone if m.toy.differences(member.toy) > 1]
            shown = member if kind == "positive" else rng.choice(others)
            return shown.portrait(self.cast, LEARNT + rng.randrange(ASKED), self.scale)
        cast = {m.toy for m in everyone}
        strangers = [t for t in toys(SPLIT) if t not in cast and t.differences(member.toy) > 1]
        some = lookalikes(member.toy, SPLIT) if kind == "lookalike" else strangers
        return stage.portrait(rng.choice(some), f"{key}/query", scale=self.scale)
