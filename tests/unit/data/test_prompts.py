from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.data.prompts import PromptTemplate
from repic.types import Example, Reference


@dataclass(frozen=True)
class Named:
    """A picture that is only told apart by its key."""

    key: str

    def load(self) -> Image.Image:
        raise AssertionError("writing a prompt needs no pixels")


TOYBOX = {
    "system": None,
    "reference": "{index}. [{image} ][Info: {info} ]Name: {name}\n",
    "query": "[{image} ]{question}",
}
PAPER = {
    "system": "You write captions.",
    "reference": "[{image}\n]{index}. Name: {name}[, Info: {info}]\n",
    "query": "[{image}\nThis is the query image. ]{question}",
}

BO = Reference("<bo>", "<bo> is a red bear.", Named("bo"))
MI = Reference("<mi>", "<mi> is a [grey] {owl}.", Named("mi"))
EXAMPLE = Example(
    id="1",
    task="caption",
    references=(BO, MI),
    query=Named("scene"),
    question="Who is there?",
    present=("<bo>",),
    num_concepts=1,
)


def text(written: str) -> dict[str, object]:
    return {"type": "text", "text": written}


def image(key: str) -> dict[str, object]:
    return {"type": "image", "image": Named(key)}


def test_pictures_and_words_come_as_the_template_says() -> None:
    assert PromptTemplate(**TOYBOX).messages(EXAMPLE) == [
        {
            "role": "user",
            "content": [
                text("1. "),
                image("bo"),
                text(" Info: <bo> is a red bear. Name: <bo>\n2. "),
                image("mi"),
                text(" Info: <mi> is a [grey] {owl}. Name: <mi>\n"),
                image("scene"),
                text(" Who is there?"),
            ],
        }
    ]


def test_the_paper_form_has_a_system_turn_and_pictures_first() -> None:
    assert PromptTemplate(**PAPER).messages(replace(EXAMPLE, references=(BO,))) == [
        {"role": "system", "content": [text("You write captions.")]},
        {
            "role": "user",
            "content": [
                image("bo"),
                text("\n1. Name: <bo>, Info: <bo> is a red bear.\n"),
                image("scene"),
                text("\nThis is the query image. Who is there?"),
            ],
        },
    ]


def test_what_is_withheld_takes_its_words_along() -> None:
    unseen, untold = replace(BO, image=None), replace(MI, info=None)
    example = replace(EXAMPLE, references=(unseen, untold), query=None)
    assert PromptTemplate(**TOYBOX).text(example) == (
        "1. Info: <bo> is a red bear. Name: <bo>\n2. <image> Name: <mi>\nWho is there?"
    )
    assert PromptTemplate(**PAPER).text(example) == (
        "You write captions.\n\n"
        "1. Name: <bo>, Info: <bo> is a red bear.\n<image>\n2. Name: <mi>\nWho is there?"
    )


@given(
    st.sampled_from([TOYBOX, PAPER]),
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5),
    st.booleans(),
)
def test_pictures_follow_the_example_and_texts_are_joined(
    template: dict, given_parts: list[tuple[bool, bool]], has_query: bool
) -> None:
    references = tuple(
        Reference(f"<n{i}>", f"info {i}" if info else None, Named(f"p{i}") if shown else None)
        for i, (info, shown) in enumerate(given_parts)
    )
    example = replace(EXAMPLE, references=references, query=Named("q") if has_query else None)
    prompt = PromptTemplate(**template)

    content = prompt.messages(example)[-1]["content"]

    kinds = [item["type"] for item in content]
    shown = tuple(item["image"] for item in content if item["type"] == "image")
    assert shown == example.images
    assert ("text", "text") not in pairwise(kinds)
    assert prompt.text(example).count("<image>") == len(example.images)
    assert all(f"Name: {name}" in prompt.text(example) for name in example.pool)
    assert prompt.text(example).count("Info: ") == sum(info for info, _ in given_parts)


@pytest.mark.parametrize(
    ("template", "changes", "mark"),
    [
        ({**TOYBOX, "query": "<image>[{image} ]{question}"}, {}, "<image>"),
        ({**TOYBOX, "system": "See <video>."}, {}, "<video>"),
        (TOYBOX, {"question": "Is <bo> in <Image 2>?"}, "<Image 2>"),
        (TOYBOX, {"references": (replace(BO, info="<image> <bo> is red."),)}, "<image>"),
    ],
)
def test_a_mark_in_the_place_of_a_picture_is_refused(
    template: dict, changes: dict, mark: str
) -> None:
    """To one model it is a picture too many, to another words, which nobody meant."""
    with pytest.raises(ValueError, match=f"example x: {mark} in the text of the prompt stands"):
        PromptTemplate(**template).messages(replace(EXAMPLE, id="x", **changes))


@pytest.mark.parametrize(
    ("key", "written", "complaint"),
    [
        ("reference", "{image} [Info: {info} ]{name}", r"\{image\} may be withheld"),
        ("reference", "[{image} ]{name}: {info}", r"\{info\} may be withheld"),
        ("reference", "[{image} ][{info} ]", r"\{name\} must appear once, not 0 times"),
        ("reference", "[{image} ][{info} ]{name}, {name}", r"\{name\} must appear once, not 2"),
        ("reference", "{name}[ {info}]", r"\{image\} must appear once, not 0 times"),
        ("reference", "[{image} ][{info} ]{nmae}", r"\{nmae\} is not one of \{name\}, \{index\}"),
        ("reference", "[{image} ][{info} ]{name!r}", r"is not one of"),
        ("reference", "[{image} ][{info} {name}", "square bracket has no partner"),
        ("reference", "[{image} [{info} ]]{name}", "they are nested"),
        ("query", "[{image} ]{question", "expected '}'"),
        ("query", "[{image} ]{name} {question}", r"\{name\} is not one of"),
        ("query", "[{image} ]What is this?", r"\{question\} must appear once, not 0 times"),
    ],
)
def test_a_wrong_template_is_refused_at_once(key: str, written: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        PromptTemplate(**{**TOYBOX, key: written})
    assert f"data.prompt.{key}" in str(raised.value)
