"""Practice tasks and their curriculum."""

import random

import pytest

from repic.toybox.curriculum import Curriculum
from repic.toybox.grammar import describe, parse_caption
from repic.toybox.tasks import TASKS
from repic.toybox.world import split_of_name, split_of_toy


def example(task, index, split="val"):
    key = f"{task}/{index}"
    return TASKS[task](key, split, random.Random(key), 1.0)


@pytest.mark.parametrize("task", TASKS)
def test_practice_shows_toys_and_names_of_its_split_only(task):
    for i in range(30):
        made = example(task, i)
        assert all(split_of_name(name) == "val" for name in made.pool)
        for image in made.images:
            assert all(split_of_toy(toy) == "val" for toy, _ in image.beings)


def test_no_practice_is_a_personalized_scene_caption():
    """Fine-tuning is what puts look-up and scene captions together."""
    for task in TASKS:
        for i in range(20):
            made = example(task, i)
            has_scene = made.query is not None and len(made.query.beings) > 1
            assert not (has_scene and "<" in made.target)


def test_who_knows_the_references_and_no_others():
    for i in range(60):
        made = example("who", i)
        shown = made.query.beings[0][0]
        pictured = {r.image.beings[0][0]: r.name for r in made.references if r.image}
        (mention,) = parse_caption(made.target).mentions
        if shown in pictured:
            assert mention.name == pictured[shown]
        assert dict(mention.attributes) == shown.attributes


def test_look_ups_name_by_description_and_leave_strangers_nameless():
    strangers = 0
    for i in range(40):
        made = example("look_up", i)
        assert not made.images
        known = {r.info: r.name for r in made.references}
        mentions = parse_caption(made.target).mentions
        assert {m.name for m in mentions if m.name} == set(made.pool)
        for mention in mentions:
            assert mention.name == known.get(describe(dict(mention.attributes)))
            strangers += mention.name is None
    assert strangers > 10


def test_look_ups_by_picture_name_whom_the_pictures_show():
    pictured = 0
    for i in range(40):
        made = example("look_up_pictures", i)
        shown = {r.image.beings[0][0]: r.name for r in made.references if r.image}
        told = {r.info: r.name for r in made.references if r.info}
        known = told | {describe(toy.attributes): name for toy, name in shown.items()}
        mentions = parse_caption(made.target).mentions
        assert {m.name for m in mentions if m.name} == set(made.pool)
        assert all(m.name == known.get(describe(dict(m.attributes))) for m in mentions)
        pictured += len(shown)
    assert pictured > 100


def test_introductions_follow_the_references():
    for i in range(20):
        made = example("introduce", i)
        mentions = parse_caption(made.target).mentions
        assert [m.name for m in mentions] == list(made.pool)
        for mention, reference in zip(mentions, made.references, strict=True):
            if reference.image:
                assert dict(mention.attributes) == reference.image.beings[0][0].attributes
            else:
                assert describe(dict(mention.attributes)) == reference.info


def test_same_is_yes_exactly_for_the_same_toy():
    answers = []
    for i in range(60):
        made = example("same", i)
        (reference,) = made.references
        is_same = reference.image.beings[0][0] == made.query.beings[0][0]
        assert made.target == ("yes" if is_same else "no")
        answers.append(made.target)
    assert 15 < answers.count("yes") < 45


def test_is_there_says_whether_the_one_who_is_asked_for_stands_in_the_scene():
    """Half of the time; many who do not look like one who does, and others may be introduced."""
    answers, alike, others = [], 0, 0
    for i in range(200):
        made = example("is_there", i)
        shown = {describe(toy.attributes): toy for toy, _ in made.query.beings}
        asked = next(r for r in made.references if f"Is {r.name} in this picture?" == made.question)
        looks = {
            r.name: r.info or describe(r.image.beings[0][0].attributes) for r in made.references
        }
        assert made.target == ("yes" if looks[asked.name] in shown else "no")
        assert all(what in shown for name, what in looks.items() if name != asked.name)
        answers.append(made.target)
        others += len(looks) > 1
        if made.target == "no":
            words = set(looks[asked.name].split())
            alike += any(len(words - set(what.split())) == 1 for what in shown)
    assert 70 < answers.count("yes") < 130
    assert 0.4 < alike / answers.count("no") < 0.9
    assert others > 50


def make(stages, size=100, split="train"):
    return Curriculum(split, size=size, seed=0, block=5, stages=stages, scale=1.0)


def test_stages_follow_progress_and_blocks_follow_groups():
    stages = [
        {"until": 0.5, "groups": [{"same": 1}]},
        {"until": 1.0, "groups": [{"who": 1}, {"locate": 1}]},
    ]
    tasks = [made.task for made in map(make(stages).__getitem__, range(100))]
    assert set(tasks[:50]) == {"same"}
    assert tasks[50:55] == ["who"] * 5
    assert tasks[55:60] == ["locate"] * 5
    assert {make(stages, split="val")[i].task for i in range(20)} == {"who", "locate"}


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([{"until": 0.5, "groups": [{"who": 1}]}], "must rise to 1"),
        ([{"until": 1, "groups": [{"whom": 1}]}], "no task"),
    ],
)
def test_impossible_curricula_are_refused(stages, says):
    with pytest.raises(ValueError, match=says):
        make(stages)
