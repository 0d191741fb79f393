import math
import re

import pytest

from repic.rewards.binding import BindingReward
from repic.types import Box, Example, Mention, Reference, Scene


def parse(text: str) -> Scene:
    """Read "red bear left <bo>; blue cat right": up to three words, then perhaps a name."""
    mentions = []
    for part in filter(None, text.split(";")):
        words = re.findall(r"<[^>]*>|\w+", part)
        names = [word for word in words if word[0] == "<"]
        known = {
            "red": "colour",
            "blue": "colour",
            "bear": "species",
            "cat": "species",
            "left": "place",
            "right": "place",
        }
        stated = {known[word]: word for word in words if word in known}
        mentions.append(Mention(stated, names[0] if names else None))
    return Scene(tuple(mentions))


REWARD = BindingReward(parser=parse, tasks=["caption"])
SCENE = parse("red bear left <bo>; blue cat right <mi>; blue bear right")


def make_example(scene: Scene | None, task: str = "caption") -> Example:
    return Example(
        id="x",
        task=task,
        references=tuple(Reference(name, "a toy", None) for name in ("<bo>", "<mi>", "<zo>")),
        present=("<bo>", "<mi>"),
        num_concepts=2,
        scene=scene,
    )


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("red bear left <bo>; blue cat right <mi>; blue bear right", 1.0),
        ("blue cat right <mi>; red bear left <bo>", 1.0),
        ("red bear left <mi>; blue cat right <bo>", 0.0),  # the right set, swapped
        ("red bear left <bo>", 0.5),  # only the surest: the other is missing
        ("red bear left <bo>; blue cat right", 0.5),
        ("red bear left <bo>; blue cat right <mi>; blue bear right <zo>", 2 / 3),
        ("red bear left <bo>; red bear left <bo>; blue cat right <mi>", 2 / 3),
        ("blue bear right <bo>; red bear left <bo>; blue cat right <mi>", 1 / 3),
        ("bear <bo>; blue cat right <mi>", 0.75),  # two bears: half a credit
        ("<bo>; <mi>", 0.0),  # says nothing about them
        ("red cat left <bo>; blue cat right <mi>", 1.0),  # a slip, and still nearest to bo
        ("blue cat left <bo>; blue cat right <mi>", 0.5),  # nearest to mi
        ("red bear left <bo> <mi> <zo> <bo>", 0.25),
        ("red bear left <bo>; blue cat right <mi>; nobody </bo>", 2 / 3),
        ("", 0.0),
    ],
)
def test_by_hand(caption: str, expected: float) -> None:
    assert REWARD(caption, make_example(SCENE))["binding"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "example",
    [
        make_example(None),
        make_example(SCENE, task="same"),
        make_example(parse("red bear left")),  # nobody in the scene has a name
    ],
)
def test_where_it_does_not_apply(example: Example) -> None:
    for caption in ("", "red bear left <bo>"):
        value = REWARD(caption, example)["binding"]
        assert value != value


def test_who_is_where_is_no_description_to_be_right_about() -> None:
    boxes = Scene((Mention({}, "<bo>", Box(0.0, 0.0, 4.0, 4.0)), Mention({}, "<mi>")))
    for caption in ("red bear left <bo>; blue cat right <mi>", "<bo>; <mi>", ""):
        assert math.isnan(REWARD(caption, make_example(boxes))["binding"])
