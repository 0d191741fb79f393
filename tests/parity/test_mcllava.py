"""MC-LLaVA against what its code does: a joint prompt, and k-means of features to start from."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repic.captioners.augment import Changed
from repic.captioners.captioner import Together
from repic.captioners.mcllava import McLlava, centres
from repic.captioners.yollava import SKS
from repic.types import Box, Example, Friend, ImageSource
from tests.parity.test_yollava import LESSONS, SETTINGS, friend, model_in, released
from tests.tiny import load

JOINT = replace(LESSONS, positives=1, captions=0, texts=0, companions=2)


def mcllava(directory: Path, **changes: object) -> McLlava:
    own = {"together": 2, "start": "kmeans", "proposer": None, "lessons": JOINT, "epochs": 1}
    return McLlava(**{**SETTINGS, **own, **changes}).bind(model_in(directory))


def pair() -> list[Friend]:
    return [friend(), friend("<ti>")]


def test_friends_learn_together_as_the_released_way_of_training_does(directory: Path) -> None:
    system = mcllava(directory)
    assert isinstance(system, Together)
    learnt = system.enroll_group(pair())
    theirs = released(system, directory, *pair())
    for own, friends_rows in zip(learnt, theirs, strict=True):
        torch.testing.assert_close(own.state, friends_rows, atol=1e-4, rtol=1e-3)
        assert own.cost.parameters == 2 * 4 * 32
    before = load(directory).state_dict()
    after = {n.replace(".inner", ""): w for n, w in system.model.loaded().state_dict().items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_same_friends_give_the_same_states_whatever_was_learnt_before(qwen: Path) -> None:
    system = mcllava(qwen)
    alone = system.enroll(friend("<mo>"))  # the last one of three
    first = system.enroll_group(pair())
    again = mcllava(qwen)
    for one, other in zip(first, again.enroll_group(pair()), strict=True):
        assert all(torch.equal(one.state[key], other.state[key]) for key in ("rows", "head"))
    assert torch.equal(alone.state["rows"], again.enroll(friend("<mo>")).state["rows"])


def original(example: Example) -> ImageSource:
    assert isinstance(example.query, Changed)
    return example.query.original


def test_a_prompt_introduces_all_and_each_is_a_negative_of_the_others(qwen: Path) -> None:
    bo, ti = pair()
    ((*batches,),) = mcllava(qwen).batches(bo, ti)
    asked = [example for (example,) in batches]
    both = "<sks> is <|sks 0|><|sks 1|><|sks 2|>. <sks1> is <|sks1 0|><|sks1 1|><|sks1 2|>."
    assert all(example.question.startswith(f"{both} ") for example in asked)
    for one, other, name in ((bo, ti, SKS), (ti, bo, "<sks1>")):
        shown = {original(example): example.target for example in asked
                 if example.question == f"{both} Is this {name}?"}  # fmt: skip
        assert {shown[s.image] for s in one.shots if s.image in shown} == {"yes"}
        assert {shown[s.image] for s in other.shots if s.image in shown} == {f"no, not {name}"}
    both_there = replace(bo, shots=(*bo.shots, ti.shots[0]))
    ((*batches,),) = mcllava(qwen, lessons=replace(JOINT, companions=20)).batches(both_there, ti)
    no = [original(e) for (e,) in batches if e.target == f"no, not {SKS}"]
    assert ti.shots[1].image in no
    assert ti.shots[0].image not in no


def test_centres_are_the_means_of_what_is_nearest_to_them() -> None:
    points = torch.tensor([[0.0, 0], [0, 1], [1, 0], [9, 9], [9, 10], [-20, 0]])
    found = sorted(centres(points, 3, random.Random(0)).tolist())
    assert found == [[-20.0, 0.0], pytest.approx([1 / 3, 1 / 3]), [9.0, 9.5]]
    assert len(centres(points[[0, 0, 1]], 3, random.Random(0))) == 2
    many = torch.randn(60, 4)
    found = centres(many, 7, random.Random(0))
    nearest = ((many[:, None] - found) ** 2).sum(-1).argmin(1)
    for index, centre in enumerate(found):
        torch.testing.assert_close(centre, many[nearest == index].mean(0))


class Corner:
    def __call__(self, picture: object, looked_for: object) -> list[Box]:
        return [Box(0, 0, 28, 28), Box(0, 0, 64, 64)]


@pytest.mark.parametrize("proposer", [None, Corner()])
def test_rows_start_at_what_is_seen_of_the_friend(qwen: Path, proposer: Corner | None) -> None:
    bo, theirs = friend(), load(qwen)
    pictures = [shot.image.load() for shot in bo.shots]
    if proposer is not None:
        pictures = [picture.crop((0, 0, 28, 28)) for picture in pictures]
    inputs = theirs.encoder.images.processor(images=pictures, return_tensors="pt")
    with torch.no_grad():
        seen = theirs.network.model.get_image_features(**inputs).pooler_output
    seen = torch.cat(tuple(seen))
    # As many tokens as features, and one more: each is its own centre, and one is left as drawn.
    system = mcllava(qwen, num_tokens=len(seen) + 1, proposer=proposer)
    policy = system._ready(1)
    rows = system.first_rows(policy, bo)["rows"]
    length = theirs.network.get_input_embeddings().weight.norm(dim=1).mean()
    expected = seen / seen.norm(dim=1, keepdim=True) * length
    torch.testing.assert_close(rows[0], expected.mean(0), atol=1e-5, rtol=1e-4)
    distances = (rows[1:-1, None] - expected).norm(dim=-1)
    assert distances.amin(1).max() < 1e-4
    assert len(set(distances.argmin(1).tolist())) == len(seen)
    drawn = mcllava(qwen, num_tokens=len(seen) + 1, start="drawn").first_rows(policy, bo)
    assert torch.equal(rows[-1], drawn["rows"][-1])
    # Where the name is no new token, there are the centres alone.
    unnamed = mcllava(qwen, num_tokens=len(seen) + 1, proposer=proposer, asks=None)
    alone = unnamed.first_rows(unnamed._ready(1), bo)
    assert alone.keys() == {"rows"}
    torch.testing.assert_close(alone["rows"][:-1], rows[1:-1])
