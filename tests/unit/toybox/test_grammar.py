"""What captions say can be read back."""

from hypothesis import given
from hypothesis import strategies as st

from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.toybox.world import BACKGROUNDS, names, toys
from repic.types import Mention, Scene

mentions = st.builds(
    lambda toy, name, position: Mention({**toy.attributes, "position": position}, name),
    st.sampled_from(toys("val")),
    st.none() | st.sampled_from(names("val")),
    st.sampled_from(["left", "middle", "right"]),
)
scenes = st.builds(
    lambda them, background: Scene(tuple(them), background),
    st.lists(mentions, min_size=1, max_size=7),
    st.sampled_from(BACKGROUNDS),
)


@given(scenes)
def test_every_caption_states_the_whole_scene(scene):
    captions = write_captions(scene)
    assert len(set(captions)) == 5
    for caption in captions:
        read = parse_caption(caption)
        assert [dict(m.attributes) for m in read.mentions] == [
            dict(m.attributes) for m in scene.mentions
        ]
        assert [m.name for m in read.mentions] == [m.name for m in scene.mentions]
    assert sum(parse_caption(c).background == scene.background for c in captions) == 3


@given(st.text(max_size=200))
def test_any_text_can_be_read(text):
    parse_caption(text)
    assert all(clause in text for clause in unread_clauses(text))


@given(scenes)
def test_nothing_of_a_caption_is_left_unread(scene):
    for caption in write_captions(scene):
        assert unread_clauses(caption) == []
        assert unread_clauses(f"{caption} What joy, {names('val')[0]}!") == ["What joy"]


def test_what_is_left_unread_by_hand():
    unread = {
        "": [],
        "Here we see toys.": [],
        "<bo> and </mi>": [],
        "A red bear, <bo>, sits on the left, smiling.": ["smiling"],
        "A cosy bear on the left. It has a nose": ["A cosy bear on the left", "It has a nose"],
        "A bear in a room, in a meadow, on a street": ["in a meadow", "on a street"],
        "Joy; calm - and a cat: bliss": ["Joy", "calm", "bliss"],
        "The bear warms the cat on the right of the scene": ["warms", "of the scene"],
    }
    assert {text: unread_clauses(text) for text in unread} == unread


def test_a_caption_by_hand():
    read = parse_caption(
        "On the left there is a red bear, <momi>. The striped cat with green glasses is on the"
        " right, and an elephant flies."
    )
    bear, cat, elephant = read.mentions
    assert bear == Mention({"colour": "red", "species": "bear", "position": "left"}, "<momi>")
    assert dict(cat.attributes) == {
        "pattern": "striped",
        "species": "cat",
        "accessory_colour": "green",
        "accessory": "glasses",
        "position": "right",
    }
    assert dict(elephant.attributes) == {"species": "elephant"}
    assert read.background is None


def test_of_two_places_the_one_behind_the_toy_counts():
    (bear,) = parse_caption("In the middle there is a bear on the left").mentions
    assert bear.attributes["position"] == "left"


def test_words_inside_other_words_are_not_toys():
    assert not parse_caption("a bearing, a catalogue, the dogma").mentions
