"""Caption examples: deterministic, true, and as hard as the rules say."""

from dataclasses import replace

import pytest

from repic.toybox.dataset import CaptionCorpus, CaptionDataset, SceneRules
from repic.toybox.grammar import parse_caption
from repic.toybox.world import Toy, split_of_name, split_of_toy

RULES = SceneRules(
    absent=(1, 2),
    lookalike=0.6,
    strangers=(0, 2),
    drop_image=0.2,
    drop_info=0.4,
    omit=0.0,
    swap=0.0,
)


def make(split="test", counts=(1, 2, 3, 4, 5), size=200, seed=0, rules=RULES):
    return CaptionDataset(
        split, counts=counts, size=size, seed=seed, rules=rules, questions=["Say."], scale=1.0
    )


@pytest.fixture(scope="module")
def scenes():
    """The first 400 by the rules above; a smaller dataset is the beginning of a larger one."""
    return list(make(size=400))


def toy_of(mention):
    return Toy(**{k: v for k, v in mention.attributes.items() if k != "position"})


def test_an_example_depends_on_seed_split_and_index_alone():
    assert make()[7] == make(size=500)[7]
    assert make()[7] != make(seed=1)[7]
    assert make()[7] != make(split="val")[7]
    assert make()[7].query.load().tobytes() == make()[7].query.load().tobytes()


def test_the_truth_holds_together(scenes):
    for example in scenes[:200]:
        named = [m for m in example.scene.mentions if m.name]
        assert len(named) == example.num_concepts == len(example.present)
        assert set(example.present) < set(example.pool)
        assert 1 <= len(example.pool) - example.num_concepts <= 2
        assert len(example.scene.mentions) - len(named) <= 2
        assert all(r.info is not None or r.image is not None for r in example.references)
        assert [m.name for m in parse_caption(example.target).mentions if m.name] == list(
            example.present
        )
        assert example.target in example.answers


def test_a_scene_holds_as_many_strangers_as_it_has_room_for():
    many = make(counts=[1, 5], size=20, rules=replace(RULES, strangers=(5, 5)))
    assert {(e.num_concepts, len(e.scene.mentions)) for e in many} == {(1, 6), (5, 7)}


def test_toys_and_names_are_of_the_split():
    for split in ("train", "val", "test"):
        for example in make(split=split, size=60):
            assert all(split_of_name(name) == split for name in example.pool)
            for mention in example.scene.mentions:
                assert split_of_toy(toy_of(mention)) == split
            for image in example.images:
                assert all(split_of_toy(toy) == split for toy, _ in image.beings)


def test_at_least_half_of_the_absent_are_lookalikes(scenes):
    alike = total = 0
    for example in scenes:
        here = [toy_of(m) for m in example.scene.mentions]
        for reference in example.references:
            if reference.name not in example.present and reference.image:
                toy = reference.image.beings[0][0]
                assert toy not in here
                total += 1
                alike += min(toy.differences(other) for other in here) == 1
    assert alike / total > 0.5


def test_picture_and_info_are_each_withheld_from_some(scenes):
    references = [r for example in scenes for r in example.references]
    assert 0.15 < sum(r.image is None for r in references) / len(references) < 0.25
    assert 0.35 < sum(r.info is None for r in references) / len(references) < 0.45


@pytest.mark.parametrize(("omit", "swap"), [(1.0, 0.0), (0.0, 1.0)])
def test_imperfect_targets_are_wrong_in_one_name_and_answers_never(omit, swap):
    for example in make(rules=replace(RULES, omit=omit, swap=swap), size=100):
        said = [m.name for m in parse_caption(example.target).mentions]
        true = [m.name for m in example.scene.mentions]
        wrong = [(s, t) for s, t in zip(said, true, strict=True) if s != t]
        assert len(wrong) == 1
        assert (wrong[0][0] is None) == bool(omit)
        for answer in example.answers:
            assert [m.name for m in parse_caption(answer).mentions] == true


def test_counts_are_drawn_by_weight():
    drawn = [e.num_concepts for e in make(counts={1: 3.0, 4: 1.0}, size=400)]
    assert drawn == [e.num_concepts for e in make(counts=[1, 1, 1, 4], size=400)]
    assert set(drawn) == {1, 4}
    assert 0.68 < drawn.count(1) / 400 < 0.82


def test_the_corpus_is_the_references():
    dataset = make(size=5)
    assert list(CaptionCorpus(dataset)) == [list(example.answers) for example in dataset]
