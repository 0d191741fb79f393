"""A cast is the same for everybody, and nobody has seen who is in it."""

from itertools import chain, pairwise

import pytest

from repic.parsing import find_names
from repic.toybox.cast import ASKED, KINDS, LEARNT, CastQuestions, CastScenes, friends, members
from repic.toybox.cast_choices import CastChoices
from repic.toybox.dataset import SceneRules
from repic.toybox.grammar import parse_caption, write_captions
from repic.toybox.scene import ToyboxImage
from repic.toybox.world import Toy, split_of_name, split_of_toy
from repic.types import Scene

RULES = SceneRules(
    absent=[1, 2],
    lookalike=0.6,
    strangers=[0, 2],
    drop_image=0.0,
    drop_info=0.0,
    omit=0.0,
    swap=0.0,
)


def scenes(**changes: object) -> CastScenes:
    settings = dict(cast=0, counts=[1, 2, 3, 4, 5], size=60, seed=0, split="test", rules=RULES)
    others = dict(has_info=False, questions=["Describe this picture."], scale=1.0)
    return CastScenes(**{**settings, **others, **changes})


def questions(**changes: object) -> CastQuestions:
    settings = dict(cast=0, per_kind=20, seed=0, question="Is this {name}?", has_info=False)
    return CastQuestions(**{**settings, "scale": 1.0, **changes})


def shown(picture: object) -> Toy:
    assert isinstance(picture, ToyboxImage)
    ((toy, _),) = picture.beings
    return toy


@pytest.mark.parametrize("cast", [0, 1])
def test_a_cast_is_unseen_and_stands_in_pairs_of_lookalikes(cast: int) -> None:
    everyone = members(cast)
    assert len({m.toy for m in everyone}) == len({m.name for m in everyone}) == 40
    assert {split_of_toy(m.toy) for m in everyone} == {"test"}
    assert {split_of_name(m.name) for m in everyone} == {"test"}
    pairs = list(pairwise(everyone))[::2]
    assert {first.toy.differences(second.toy) for first, second in pairs} == {1}
    assert {m.name for m in everyone} != {m.name for m in members(1 - cast)}


def test_what_is_learnt_from_is_never_asked_about() -> None:
    known = friends(cast=0, pictures=LEARNT, negatives=4, scale=1.0)
    taught = {s.image.key for f in known for s in f.shots}
    taught |= {p.key for f in known for p in (*f.lookalikes, *f.others)}
    asked = {e.query.key for e in chain(questions(), scenes()) if e.query}
    assert not taught & asked
    for friend, member in zip(known, members(0), strict=True):
        assert {shown(s.image) for s in friend.shots} == {member.toy}
        assert len({s.image.key for s in friend.shots}) == LEARNT
        alike = {shown(p).differences(member.toy) for p in friend.lookalikes}
        assert alike == {1}
        negatives = [shown(p) for p in (*friend.lookalikes, *friend.others)]
        assert {split_of_toy(toy) for toy in negatives} == {"train"}
    few = friends(cast=0, pictures=1, negatives=4, scale=1.0)
    assert [f.shots for f in few] == [f.shots[:1] for f in known]


def test_scenes_are_of_the_cast_and_introduce_some_who_are_not_there() -> None:
    toys = {m.name: m.toy for m in members(0)}
    absent_alike = strangers = 0
    for example in scenes():
        assert example.scene is not None
        named = [m for m in example.scene.mentions if m.name]
        assert len(named) == len(example.present) == example.num_concepts
        for mention in named:
            attributes = dict(mention.attributes)
            del attributes["position"]
            assert mention.name is not None
            assert Toy(**attributes) == toys[mention.name]
        absent = set(example.pool) - set(example.present)
        assert 1 <= len(absent) <= 2
        assert len(set(example.pool)) == len(example.pool)
        close = [toys[a].differences(toys[p]) for a in absent for p in example.present]
        absent_alike += 1 in close
        strangers += len(example.scene.mentions) - len(named)
        for reference in example.references:
            assert reference.image == friends_first(reference.name)
    assert absent_alike > 10
    assert strangers > 10
    assert [e.id for e in scenes(seed=1)] != [e.id for e in scenes()]
    assert scenes()[3] == scenes()[3]


def friends_first(name: str) -> object:
    return next(m for m in members(0) if m.name == name).portrait(0, 0, 1.0)


def test_who_is_introduced_and_shown_is_known_to_retrieval() -> None:
    examples = scenes()
    for i in range(5):
        identities = examples.identities(i)
        assert len(identities.introduced & identities.shown) == examples[i].num_concepts


def test_questions_of_four_kinds_have_their_answers_by_what_is_shown() -> None:
    toys = {m.name: m.toy for m in members(0)}
    of_cast = set(toys.values())
    kinds: dict[str, int] = {}
    for example in questions():
        kind = example.task.removeprefix("recognize/")
        kinds[kind] = kinds.get(kind, 0) + 1
        (name,) = example.pool
        toy, distance = shown(example.query), shown(example.query).differences(toys[name])
        assert example.target == ("yes" if distance == 0 else "no")
        right = {
            "positive": distance == 0,
            "lookalike": distance == 1,
            "random": distance > 1 and toy in of_cast,
            "absent": distance > 1 and toy not in of_cast,
        }
        assert right[kind]
        assert example.question == f"Is this {name}?"
    assert kinds == dict.fromkeys(KINDS, 20)
    assert ASKED > 1
    for wrong, said in (("Who?", "lacks"), ("{name} {there}?", "may have"), ("{name", "may have")):
        with pytest.raises(ValueError, match=rf"data.recognize.questions.question: '.*' {said}"):
            questions(question=wrong)


def choices(**changes: object) -> CastChoices:
    settings = dict(cast=0, per_kind=60, seed=0, counts=[1, 2, 3], rules=RULES, has_info=False)
    return CastChoices(**{**settings, "asks": "{question}\n{options}", "scale": 1.0, **changes})


SLOTS_OF = {
    "wearing": ("accessory_colour", "accessory"),
    "colour": ("colour",),
    "pattern": ("pattern",),
    "Where": ("position",),
    "What is": ("species",),
}


def test_questions_with_options_have_one_answer_by_scene_or_info() -> None:
    places: list[int] = []
    asked = choices()
    for one in asked:
        example, (first, *lines) = one.example, one.example.question.split("\n")
        assert [f"{letter}. {o}" for letter, o in zip("ABCD", one.options, strict=False)] == lines
        assert len(set(one.options)) == len(one.options) == (3 if first[:5] == "Where" else 4)
        (name,) = find_names(first)
        right = one.options[one.answer]
        assert example.target == "ABCD"[one.answer]
        if example.task == "ask/visual":
            assert example.scene is not None
            assert name in example.present
            others = {m.name: Scene((m,)) for m in example.scene.mentions}
            said = write_captions(others[name])[0]
        else:
            assert example.query is None
            assert {reference.image for reference in example.references} == {None}
            said = str({r.name: r.info for r in example.references}[name])
        # By the caption, or the info, the option is right that is, and no other.
        (mention,) = parse_caption(said).mentions
        slots = next(slots for words, slots in SLOTS_OF.items() if words in first)
        truth = {mention.attributes[slot] for slot in slots}
        told = [set(option.split()) - {"a", "an", "on", "in", "the"} for option in one.options]
        assert [words == truth for words in told] == [option == right for option in one.options]
        places.append(one.answer)
    assert min(places.count(place) for place in range(4)) > 15
    assert asked[7] == choices()[7]
    assert asked[7] != choices(seed=1)[7]
    with pytest.raises(ValueError, match=r"data.ask.questions.asks: '\{question\}' lacks"):
        choices(asks="{question}")


def test_wrong_options_are_what_others_in_the_scene_have() -> None:
    tempting = 0
    for one in choices():
        if one.example.scene is not None:
            worn_there = {m.attributes["accessory"] for m in one.example.scene.mentions}
            tempting += sum(option.split()[-1] in worn_there for option in one.options) > 1
    assert tempting > 5
