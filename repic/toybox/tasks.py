"""What a base model practises: seeing, comparing, and looking a name up.

None of these is a personalized caption of a scene: scenes are described without names, and names
are looked up for descriptions and for portraits. Putting the two together is left to fine-tuning.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from repic.toybox import scene as stage
from repic.toybox.grammar import describe, write_captions
from repic.toybox.world import COLOURS, SPECIES, Toy, draw_names, lookalikes, toys
from repic.types import Example, Reference

Task = Callable[[str, str, random.Random, float], Example]

ALIKE = 0.3  # share of toys that are drawn as look-alikes of another in the same prompt
LOOKALIKES = 0.6  # share of the answers "no" where the toy differs in one attribute, if it can
KNOWN = 0.7  # share of portraits that show one of the references


def distinct_toys(split: str, count: int, rng: random.Random) -> list[Toy]:
    """Different toys, some of them look-alikes of one another."""
    chosen = [rng.choice(toys(split))]
    while len(chosen) < count:
        alike = lookalikes(rng.choice(chosen), split) if rng.random() < ALIKE else ()
        toy = rng.choice(alike or toys(split))
        if toy not in chosen:
            chosen.append(toy)
    return chosen


def look_up_colour(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Names by colour, in text alone, each asked three times."""
    return _roll_call(key, split, [_article(colour) for colour in rng.sample(COLOURS, 4)], rng)


def look_up_kind(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Names by colour and species, in text alone, each asked three times."""
    kinds = rng.sample([_article(f"{c} {s}") for c in COLOURS for s in SPECIES], 4)
    return _roll_call(key, split, kinds, rng)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _roll_call(key: str, split: str, kinds: Sequence[str], rng: random.Random) -> Example:
    names = draw_names(split, len(kinds), rng)
    references = [Reference(name, info, None) for name, info in zip(names, kinds, strict=True)]
    calls = [*references] * 3
    rng.shuffle(calls)
    answer = " ".join(f"A{r.info[1:]}, {r.name}." for r in calls if r.info)
    return _example(key, "lookup", references, None, "Who is who?", answer)


def look_up(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Names by full descriptions, in text alone and in any order; some have no reference."""
    return _who_is_who(key, split, rng, scale, pictures=0.0)


def look_up_pictures(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """The same where every reference has a picture, and few say what it shows.

    Which toy comes next cannot be known, so what the loss says of the descriptions is noise; it
    should not reach a vision tower that still learns.
    """
    return _who_is_who(key, split, rng, scale, pictures=1.0)


def look_up_mixed(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """The same where half the references have a picture."""
    return _who_is_who(key, split, rng, scale, pictures=0.5)


def _who_is_who(
    key: str, split: str, rng: random.Random, scale: float, *, pictures: float
) -> Example:
    count, strangers = rng.randint(3, 6), rng.randint(0, 2)
    cast = distinct_toys(split, count + strangers, rng)
    rng.shuffle(cast)
    names = draw_names(split, count, rng)
    references = _references(key, list(zip(cast, names, strict=False)), rng, scale, pictures)
    calls = [*zip(cast, names, strict=False), *((toy, None) for toy in cast[count:])]
    rng.shuffle(calls)
    answer = " ".join(_sentence(toy, name) for toy, name in calls)
    return _example(key, "lookup", references, None, "Who is who?", answer)


def introduce(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Say of every reference, in their order, what its toy is like and its name."""
    count = rng.randint(2, 6)
    cast = distinct_toys(split, count, rng)
    names = draw_names(split, count, rng)
    references = _references(key, list(zip(cast, names, strict=True)), rng, scale, pictures=0.9)
    answer = " ".join(_sentence(toy, name) for toy, name in zip(cast, names, strict=True))
    return _example(key, "introduce", references, None, "Introduce everyone.", answer)


def who(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Say whom a portrait shows, or only what a stranger is like."""
    count = rng.randint(2, 6)
    cast = distinct_toys(split, count + 1, rng)
    rng.shuffle(cast)
    names = draw_names(split, count, rng)
    known = dict(zip(cast, names, strict=False))
    toy = rng.choice(cast[:count]) if rng.random() < KNOWN else cast[count]
    references = _references(key, list(known.items()), rng, scale, pictures=0.85)
    query = stage.portrait(toy, f"{key}/query", scale=scale)
    answer = _sentence(toy, known.get(toy))
    return _example(key, "who", references, query, "Who is this?", answer)


def same(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Say whether a portrait shows the reference; many that do not are look-alikes."""
    toy = rng.choice(toys(split))
    shown, answer = toy, "yes"
    if rng.random() < 0.5:
        alike = lookalikes(toy, split) if rng.random() < LOOKALIKES else ()
        shown = rng.choice(alike or [other for other in toys(split) if other != toy])
        answer = "no"
    name = draw_names(split, 1, rng)[0]
    reference = Reference(name, None, stage.portrait(toy, f"{key}/ref0", scale=scale))
    query = stage.portrait(shown, f"{key}/query", scale=scale)
    return _example(key, "same", [reference], query, f"Is this {name}?", answer)


def is_there(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Say whether one of those introduced is in a scene; many who are not look like one who is."""
    cast = distinct_toys(split, rng.randint(1, 5), rng)
    asked, answer = rng.choice(cast), "yes"
    if rng.random() < 0.5:
        alike = lookalikes(asked, split) if rng.random() < LOOKALIKES else ()
        absent = [toy for toy in alike if toy not in cast]
        asked = rng.choice(absent or [toy for toy in toys(split) if toy not in cast])
        answer = "no"
    others = [toy for toy in cast if toy != asked]
    beside = rng.sample(others, min(rng.randint(0, 3), len(others)))
    names = draw_names(split, 1 + len(beside), rng)
    concepts = list(zip([asked, *beside], names, strict=True))
    rng.shuffle(concepts)
    references = _references(key, concepts, rng, scale, pictures=0.85)
    picture, _ = stage.arrange(cast, f"{key}/scene", scale=scale)
    return _example(key, "is_there", references, picture, f"Is {names[0]} in this picture?", answer)


def describe_toy(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Say what a portrait's toy is like."""
    toy = rng.choice(toys(split))
    query = stage.portrait(toy, f"{key}/query", scale=scale)
    return _example(key, "describe", [], query, "Describe this toy.", _sentence(toy, None))


def describe_scene(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Caption a scene of one to seven toys; nobody has a name."""
    cast = distinct_toys(split, rng.randint(1, 7), rng)
    picture, poses = stage.arrange(cast, f"{key}/scene", scale=scale)
    truth = stage.ground_truth(cast, [None] * len(cast), poses, picture)
    captions = write_captions(truth)
    example = _example(key, "scene", [], picture, "Describe this picture.", rng.choice(captions))
    return replace(example, answers=captions, scene=truth)


def locate(key: str, split: str, rng: random.Random, scale: float) -> Example:
    """Give the box of the reference in a scene, in whole pixels."""
    cast = distinct_toys(split, rng.randint(1, 5), rng)
    picture, poses = stage.arrange(cast, f"{key}/scene", scale=scale)
    place = rng.randrange(len(cast))
    name = draw_names(split, 1, rng)[0]
    reference = Reference(name, None, stage.portrait(cast[place], f"{key}/ref0", scale=scale))
    box = stage.pose_box(poses[place], scale)
    answer = f"[{box.x0}, {box.y0}, {box.x1}, {box.y1}]"
    return _example(key, "locate", [reference], picture, f"Where is {name}?", answer)


def _sentence(toy: Toy, name: str | None) -> str:
    description = f"A{describe(toy.attributes)[1:]}"
    return f"{description}, {name}." if name else f"{description}."


def _references(
    key: str,
    concepts: Sequence[tuple[Toy, str]],
    rng: random.Random,
    scale: float,
    pictures: float,
) -> list[Reference]:
    """Introduce toys; those with a picture have an info sentence in some cases only."""
    references = []
    for i, (toy, name) in enumerate(concepts):
        has_image = rng.random() < pictures
        has_info = not has_image or rng.random() < 0.3
        image = stage.portrait(toy, f"{key}/ref{i}", scale=scale) if has_image else None
        info = describe(toy.attributes) if has_info else None
        references.append(Reference(name, info, image))
    return references


def _example(
    key: str,
    task: str,
    references: Sequence[Reference],
    query: stage.ToyboxImage | None,
    question: str,
    answer: str,
) -> Example:
    return Example(
        id=f"toybox/{key}",
        task=task,
        references=tuple(references),
        query=query,
        question=question,
        target=answer,
        answers=(answer,),
        num_concepts=len(references),
    )


TASKS: dict[str, Task] = {
    "look_up_colour": look_up_colour,
    "look_up_kind": look_up_kind,
    "look_up": look_up,
    "look_up_pictures": look_up_pictures,
    "look_up_mixed": look_up_mixed,
    "introduce": introduce,
    "who": who,
    "same": same,
    "is_there": is_there,
    "describe_toy": describe_toy,
    "describe_scene": describe_scene,
    "locate": locate,
}
