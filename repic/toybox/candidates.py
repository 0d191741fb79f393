"""Pictures that could be taken for a scene: one of its friends is exchanged for a look-alike."""

import random
from dataclasses import replace

from repic.toybox.scene import ToyboxImage
from repic.toybox.world import SLOTS, Toy, lookalikes, split_of_toy
from repic.types import Example, ImageSource


def lookalike_scenes(example: Example, number: int) -> list[ImageSource]:
    """At most so many pictures, the same ones whenever they are asked for.

    In each a friend who is there has become a toy of the same split that differs in one attribute,
    with the same pose in the same place; friends take turns. None where the picture is no drawn
    scene, nobody in it has a name, or nobody has a look-alike.
    """
    picture = example.query
    if not isinstance(picture, ToyboxImage) or example.scene is None:
        return []
    rng = random.Random(f"{example.id}/candidates")
    there = {toy for toy, _ in picture.beings}
    named = [
        Toy(*(mention.attributes[slot] for slot in SLOTS))
        for mention in example.scene.mentions
        if mention.name
    ]
    turns = []
    for toy in named:
        alike = [other for other in lookalikes(toy, split_of_toy(toy)) if other not in there]
        turns.append([(toy, other) for other in rng.sample(alike, len(alike))])
    rng.shuffle(turns)
    found: list[ImageSource] = []
    while len(found) < number and any(turns):
        for turn in turns:
            if turn and len(found) < number:
                toy, other = turn.pop()
                beings = tuple((other if t == toy else t, pose) for t, pose in picture.beings)
                seed = f"{picture.seed}/candidate{len(found)}"
                found.append(replace(picture, beings=beings, seed=seed))
    return found
