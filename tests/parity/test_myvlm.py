"""MyVLM against its formulas: the library's forward pass with attentions, and cases by hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy, pad

from repic.captioners.augment import Augmentation, Changed
from repic.captioners.captioner import Cost, Enrolled, Labels
from repic.captioners.concept_head import ConceptHead, probability
from repic.captioners.model import ModelCaptioner
from repic.captioners.myvlm import TOKEN, ConceptVector, MyVlm
from repic.models.images import Followed
from repic.models.policy import Policy
from repic.toybox.scene import portrait
from repic.toybox.world import Toy, toys
from repic.types import Box, Example, Friend, Reference, Shot, picture_content
from tests.tiny import load, packed_engine, sampling

STILL = Augmentation(flip=0.0, rotation=0.0, brightness=0.0)
MOVED = Augmentation(flip=0.5, rotation=45.0, brightness=0.6)
BO, OTHER = toys("test")[0], toys("test")[9]


class Colours:
    """Mean colours, at length 1."""

    version = "colours"

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(p).mean(axis=(0, 1)) for p in pictures], dtype=np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


@dataclass(frozen=True)
class Flat:
    """A picture of one colour."""

    colour: tuple[int, int, int]

    @property
    def key(self) -> str:
        return str(self.colour)

    def load(self) -> Image.Image:
        return Image.new("RGB", (8, 8), self.colour)


def friend(name: str = "<bo>", toy: Toy = BO, **changes: object) -> Friend:
    shots = tuple(
        Shot(portrait(toy, f"{name}/{i}", scale=1.0), (f"A toy, {name}.", f"Here is {name}."))
        for i in range(3)
    )
    others = tuple(portrait(OTHER, f"other/{i}", scale=1.0) for i in range(3))
    return replace(Friend(name, "a toy", "toy", shots, others=others), **changes)


HEAD = ConceptHead(
    steps=40,
    batch_size=8,
    lr=0.1,
    last_lr=0.001,
    weight_decay=0.0,
    grad_clip=1.0,
    views=2,
    threshold=0.5,
    augmentation=STILL,
)
VECTOR = ConceptVector(
    steps=3,
    batch_size=2,
    lr=1.0,
    weight_decay=1e-4,
    grad_clip=0.05,
    watched="own_row",
    coef=0.04,
    augmentation=MOVED,
)


def on(load_policy: Callable[[], Policy]) -> ModelCaptioner:
    return ModelCaptioner(
        Labels("base", "base", is_shared=True, has_model=True),
        "base",
        None,
        load=load_policy,
        engine=packed_engine(),
        sampling=sampling(temperature=0.0, max_new_tokens=4),
        batch_size=4,
        model_key="tiny",
    )


def myvlm(directory: Path, **changes: object) -> MyVlm:
    system = MyVlm(
        label="MyVLM",
        on=None,
        needs=1,
        asks="Who is {names}?",
        embedder=Colours(),
        proposer=None,
        head=HEAD,
        vector=VECTOR,
        seed=0,
    )
    return replace(system, **changes).bind(on(lambda: load(directory, attention="sdpa")))


def test_a_head_s_probability_by_hand() -> None:
    weights = torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.0, -0.5]])
    # logits 0.8 + 0.5 and 1.2 - 0.5
    expected = math.exp(0.7) / (math.exp(0.7) + math.exp(1.3))
    found = probability(weights, torch.tensor([[0.6, 0.8]]))
    assert found.tolist() == pytest.approx([expected])


def test_a_head_learns_what_colours_can_tell_and_the_same_each_time(qwen: Path) -> None:
    system = myvlm(qwen)
    shown, others = [Flat((200, 40, 40)), Flat((180, 20, 60))], [Flat((30, 40, 200))]
    look = partial(system._look, "toy")
    head = HEAD.learn(look, shown, others, "0")
    assert probability(head, look(shown)).min() > 0.5
    assert probability(head, look(others)).max() < 0.5
    assert torch.equal(head, HEAD.learn(look, shown, others, "0"))
    assert not torch.equal(head, HEAD.learn(look, shown, others, "1"))


class Halves:
    """A proposer that says where a kind is, and has an address of its own."""

    def __init__(self, side: str) -> None:
        self.side, self._asked = side, []

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        self._asked.append(list(looked_for))
        return [Box(0, 0, picture.width / 2, picture.height)] if "toy" in looked_for else []


def test_heads_look_where_the_proposer_says_and_states_are_found_by_its_settings(
    qwen: Path,
) -> None:
    half, whole = Halves("left"), Halves("left")
    system = myvlm(qwen, proposer=half)
    assert system.enroll_key == myvlm(qwen, proposer=whole).enroll_key
    assert system.enroll_key != myvlm(qwen, proposer=Halves("right")).enroll_key
    picture = Flat((9, 9, 9))
    assert [part.size for part in system._parts(picture, ["toy"])] == [(4, 8)]
    assert [part.size for part in system._parts(picture, ["cat"])] == [(8, 8)]
    learnt = {"<bo>": Enrolled({"head": torch.zeros(2, 4), "vector": torch.zeros(32)}, Cost())}
    system.meet([friend()], learnt)
    query = Example("a", "caption", (), picture, "?", "", (), (), 1)
    assert system.noticed(query) == ["<bo>"]  # a probability of one half is enough
    assert half._asked[-1] == ["toy"]


@pytest.mark.parametrize("watched", ["own_row", "to_it"])
def test_the_loss_is_the_library_s_with_the_vector_behind_the_picture(
    directory: Path, watched: str
) -> None:
    system = myvlm(directory, vector=replace(VECTOR, watched=watched))
    shots = [(portrait(BO, "a", scale=1.0), "A red bear."), (portrait(OTHER, "b", scale=1.0), "No")]
    examples = [
        Example(p.key, "caption", (), p, "Who is <bo>?", text, (), (), 1) for p, text in shots
    ]
    policy = system.model.loaded()
    vector = torch.arange(1.0, 33.0)
    soft, _ = system._ready()
    packed_engine().prepare(policy)
    loss, penalty = system.loss(vector, examples)

    theirs = load(directory, attention="eager")
    nll, count, attention = 0.0, 0, 0.0
    for example in examples:
        assert example.query is not None
        image = theirs.encoder.images.encode([example.query])
        first = theirs.picture_features(image)[0][0]
        soft.rows = (vector / vector.norm() * first.norm())[None]  # what the library looks up
        shown = replace(example, query=Followed(example.query, TOKEN.format(0)))
        (prompt,) = policy.encoder.prompts([shown])
        (answer,) = policy.encoder.encode_answers([example.target])
        ids = torch.cat([prompt.input_ids, answer])
        inputs = policy.encoder.library_inputs(prompt)
        shape, longer = inputs["input_ids"].shape, len(answer)
        inputs = {k: pad(x, (0, longer)) if x.shape == shape else x for k, x in inputs.items()}
        inputs |= {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        theirs.network.set_input_embeddings(policy.network.get_input_embeddings())
        with torch.no_grad():
            out = theirs.network(**inputs, output_attentions=True, use_cache=False)
        logits = out.logits[0, len(prompt.input_ids) - 1 : -1]
        nll += cross_entropy(logits, answer, reduction="sum").item()
        count += len(answer)
        place = prompt.input_ids.tolist().index(soft.first)
        for layer in out.attentions:  # without the last token, which predicts nothing
            seen = layer[0, :, :-1, :-1]
            if watched == "own_row":
                attention += seen[:, place].square().mean().item()
            else:
                attention += seen[:, :, place].square().mean().item()
    assert loss.item() == pytest.approx(nll / count, rel=1e-4)
    assert float(penalty) == pytest.approx(attention, rel=1e-4)


def test_the_vector_stands_right_behind_the_picture_and_nothing_else_moves(qwen: Path) -> None:
    system = myvlm(qwen)
    policy = system.model.loaded()
    picture = portrait(BO, "a", scale=1.0)
    plain = Example("a", "caption", (), picture, "Who?", "", (), (), 1)
    (before,) = policy.encoder.prompts([plain])
    rows = policy.embed_tokens(before.input_ids[None])[0].detach().clone()
    soft, _ = system._ready()
    soft.rows = torch.full((1, 32), 7.0)
    marked = replace(plain, query=Followed(picture, TOKEN.format(0)))
    (after,) = policy.encoder.prompts([marked])
    place = after.input_ids.tolist().index(soft.first)
    assert after.input_ids[place - 1] == policy.encoder.image_token_id
    assert after.input_ids[place + 1] != policy.encoder.image_token_id
    new = policy.embed_tokens(after.input_ids[None])[0]
    assert torch.equal(new[place], torch.full((32,), 7.0))
    assert torch.equal(torch.cat([new[:place], new[place + 1 :]]), rows)
    assert policy.encoder.decode(after.input_ids[place : place + 1]) == ""
    # It is counted as a word behind the picture.
    assert after.next_position == before.next_position + 1


def test_enrolling_moves_no_weight_and_gives_the_same_state_whoever_came_before(
    directory: Path,
) -> None:
    system = myvlm(directory)
    before = {n: w.clone() for n, w in load(directory).state_dict().items()}
    bo, ti = friend(), friend("<ti>", OTHER, others=(portrait(BO, "x", scale=1.0),))
    system.enroll(ti)
    first = system.enroll(bo)
    again = myvlm(directory).enroll(bo)
    for key in ("head", "vector"):
        assert torch.equal(first.state[key], again.state[key])
    assert first.state["vector"].norm().item() == pytest.approx(1.0)
    assert first.cost.parameters == 2 * 4 + 32
    after = {n.replace(".inner", ""): w for n, w in system.model.loaded().state_dict().items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    still = replace(VECTOR, steps=1, lr=1e-9, weight_decay=0.0)
    start = myvlm(directory, vector=still).enroll(bo).state["vector"]
    assert not torch.allclose(start, first.state["vector"], atol=1e-3)


def test_who_is_noticed_is_told_behind_the_picture_and_by_name(qwen: Path) -> None:
    system = myvlm(qwen)
    known = [friend(), friend("<ti>", OTHER, others=(portrait(BO, "x", scale=1.0),))]
    sure, never = (torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, bias]]) for bias in (4.0, -4.0))
    vector = torch.eye(32)[0]
    learnt = {
        "<bo>": Enrolled({"head": sure, "vector": vector}, Cost()),
        "<ti>": Enrolled({"head": never, "vector": vector}, Cost()),
    }
    system.meet(known, learnt)
    references = tuple(Reference(name, None, portrait(BO, name, scale=1.0)) for name in learnt)
    scene = portrait(BO, "scene", scale=1.0)
    example = Example("a", "caption", references, scene, "What is it?", "", (), (), 1)
    bo, ti = (replace(example, references=(r,)) for r in references)
    told, untold = system.reword([bo, ti])
    assert told.references == untold.references == ()
    assert told.question == "Who is <bo>?"
    assert isinstance(told.query, Followed)
    assert picture_content(told.query) == picture_content(scene)
    assert (untold.query, untold.question) == (scene, "What is it?")
    asked = [replace(example, task="recognize") for example in (bo, ti)]
    assert [a.text for a in system.answer(asked)] == ["yes", "no"]
    assert len(system.write([bo, ti])) == 2
    stranger = replace(bo, references=(Reference("<mo>", "a toy", None),))
    with pytest.raises(ValueError, match="MyVLM has never learnt <mo>; enrolled are <bo>, <ti>"):
        system.write([stranger])


def test_where_the_question_says_no_name_a_reference_does(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, asked, loss = myvlm(qwen, asks="Describe it."), [], MyVlm.loss
    monkeypatch.setattr(MyVlm, "loss", lambda *a: asked.extend(a[2]) or loss(*a))
    learnt = system.enroll(friend())
    named = (Reference("<bo>", None, None),)
    assert {(e.question, e.references) for e in asked} == {("Describe it.", named)}
    sure = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 4.0]])
    system.meet([friend()], {"<bo>": learnt._replace(state={**learnt.state, "head": sure})})
    references = (Reference("<bo>", "a toy", portrait(BO, "<bo>", scale=1.0)),)
    scene = portrait(BO, "scene", scale=1.0)
    example = Example("a", "caption", references, scene, "What is it?", "", (), (), 1)
    (told,) = system.reword([example])
    assert (told.question, told.references) == ("Describe it.", named)
    assert isinstance(told.query, Followed)


def test_friends_who_cannot_be_learnt_are_named(qwen: Path) -> None:
    bare = friend(shots=(Shot(portrait(BO, "a", scale=1.0)),))
    with pytest.raises(ValueError, match=r"captions that name the friend, and .*, of <bo>, has"):
        myvlm(qwen).enroll(bare)
    with pytest.raises(ValueError, match=r"no pictures of others; raise data.friends.negatives"):
        myvlm(qwen).enroll(friend(others=()))


def test_a_changed_picture_by_hand() -> None:
    picture = portrait(BO, "a", scale=1.0)
    pixels = np.asarray(picture.load())
    assert (np.asarray(Changed(picture, True, 0.0, 1.0).load()) == pixels[:, ::-1]).all()
    assert (np.asarray(Changed(picture, False, 90.0, 1.0).load()) == np.rot90(pixels)).all()
    half = np.asarray(Changed(picture, False, 0.0, 0.5).load()).astype(int)
    assert np.abs(half - pixels / 2).max() <= 1
