"""RAP introduces whom the question names, then whom the picture shows, by a case worked by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from repic.captioners.captioner import Caption
from repic.captioners.rap import Rap
from repic.retrieval.retriever import Retriever
from repic.types import Box, Example, Friend, Reference, Shot

COLOURS = {"<bo>": (255, 0, 0), "<ti>": (0, 255, 0), "<mo>": (0, 0, 255), "<la>": (250, 90, 0)}


class Colours:
    """Mean colours, at length 1."""

    version = "colours"

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(p).mean(axis=(0, 1)) for p in pictures], dtype=np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


class Halves:
    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        return [Box(0, 0, 4, 8), Box(4, 0, 8, 8)]


@dataclass(frozen=True)
class Flag:
    """Two colours beside each other."""

    left: tuple[int, int, int]
    right: tuple[int, int, int]

    @property
    def key(self) -> str:
        return f"{self.left}{self.right}"

    def load(self) -> Image.Image:
        picture = Image.new("RGB", (8, 8), self.left)
        picture.paste(self.right, (4, 0, 8, 8))
        return picture


FRIENDS = [
    Friend(name, f"a {name[1:-1]}", "flag", (Shot(Flag(colour, colour)),))
    for name, colour in COLOURS.items()
]
# Green is <ti>'s; the other half is nearly <la>'s, and less nearly <bo>'s.
SCENE = Flag((250, 80, 0), (0, 255, 0))
ASKED = Example("a", "caption", (), SCENE, "Who is it?", "", (), (), 2)


def rap(**changes: object) -> Rap:
    settings = {"top_k": [2], "per_crop": 2, "min_similarity": None, "scenes_per_album": 1}
    retriever = Retriever(proposer=Halves(), embedder=Colours(), **{**settings, **changes})
    return Rap(label="RAP", on=None, needs=1, among="prompt", has_info=True, retriever=retriever)


def met(made: Rap) -> Rap:
    made.friends = {friend.name: friend for friend in FRIENDS}
    made.learnt = {friend.name: made.enroll(friend) for friend in FRIENDS}
    return made


def test_the_named_come_first_and_then_the_nearest_of_all_crops() -> None:
    made = met(rap())
    assert made.found(ASKED) == ["<ti>", "<la>"]
    assert met(rap(top_k=[3])).found(ASKED) == ["<ti>", "<la>", "<bo>"]
    assert met(rap(top_k=[3], per_crop=1)).found(ASKED) == ["<ti>", "<la>"]
    named = replace(ASKED, question="Where is <mo>, and where <la>?")
    assert met(rap(top_k=[3])).found(named) == ["<mo>", "<la>", "<ti>"]
    (told,) = made.reword([ASKED])
    assert [(r.name, r.info) for r in told.references] == [("<ti>", "a ti"), ("<la>", "a la")]
    assert told.references[0].image == FRIENDS[1].shots[0].image


def test_it_looks_among_those_who_are_introduced_or_among_everybody() -> None:
    references = tuple(
        Reference(f.name, None, f.shots[0].image) for f in FRIENDS if f.name != "<la>"
    )
    introduced = replace(ASKED, references=references)
    made = met(rap())
    assert made.found(introduced) == ["<ti>", "<bo>"]
    assert met(replace(made, among="everybody")).found(introduced) == ["<ti>", "<la>"]
    stranger = replace(ASKED, references=(Reference("<xi>", None, SCENE),))
    with pytest.raises(ValueError, match=r"RAP has never learnt <xi>; enrolled are <bo>, <ti>"):
        made.found(stranger)


def test_a_question_is_asked_with_the_first_who_is_named_and_no_other() -> None:
    class Model:
        def answer(self, examples: Sequence[Example]) -> list[Caption]:
            self.asked = list(examples)
            return [Caption("yes", True) for _ in examples]

    made = met(rap())
    made.model = model = Model()  # pyright: ignore[reportAttributeAccessIssue]
    made.answer([replace(ASKED, question="Is this <mo>?"), ASKED])
    assert [[r.name for r in e.references] for e in model.asked] == [["<mo>"], ["<ti>", "<la>"]]


def test_a_friend_costs_a_picture_and_a_vector() -> None:
    enrolled = met(rap()).learnt["<bo>"]
    assert (enrolled.cost.pictures, enrolled.cost.parameters) == (1, 0)
    assert enrolled.state["vector"].tolist() == [1.0, 0.0, 0.0]
