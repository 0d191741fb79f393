"""Yo'LLaVA against what its code does: whole matrices trained, all but new rows put back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, pad

from repic.captioners.augment import Augmentation
from repic.captioners.captioner import Labels
from repic.captioners.friends import enroll_all
from repic.captioners.model import ModelCaptioner
from repic.captioners.yollava import SKS, Lessons, YoLlava, stand_ins, tokens_of
from repic.models.policy import Policy
from repic.models.soft_tokens import SoftTokens
from repic.toybox.scene import portrait
from repic.toybox.world import toys
from repic.types import Example, Friend, Reference, Shot
from tests.tiny import load, packed_engine, sampling

BO, ALIKE, OTHER = toys("test")[0], toys("test")[1], toys("test")[9]
LESSONS = Lessons(
    recognize=["Is this {name}?"],
    yes=["yes"],
    no=["no, not {name}"],
    describe=["Who is it?"],
    about=[["What is {name}?", "{Info}, {name}."]],
    positives=2,
    lookalikes=1,
    others=1,
    captions=1,
    texts=1,
    augmentation=Augmentation(flip=0.5, rotation=0.0, brightness=0.0),
)


def friend(name: str = "<bo>") -> Friend:
    shots = tuple(
        Shot(portrait(BO, f"{name}/{i}", scale=1.0), (f"Red, {name}.",)) for i in range(2)
    )
    alike, other = (portrait(toy, "x", scale=1.0) for toy in (ALIKE, OTHER))
    return Friend(name, "a red toy", "toy", shots, (alike,), (other,))


SETTINGS = dict(
    label="Yo'LLaVA",
    on=None,
    needs=1,
    asks="{name} is {tokens}.",
    num_tokens=3,
    lessons=LESSONS,
    epochs=2,
    batch_size=1,
    lr=0.01,
    weight_decay=0.1,
    choose_after=9,
    seed=0,
)


def yollava(directory: Path, **changes: object) -> YoLlava:
    return YoLlava(**{**SETTINGS, **changes}).bind(model_in(directory))


def model_in(directory: Path) -> ModelCaptioner:
    return ModelCaptioner(
        Labels("base", "base", is_shared=True, has_model=True),
        "base",
        None,
        load=lambda: load(directory),
        engine=packed_engine(),
        sampling=sampling(temperature=0.0, max_new_tokens=4),
        batch_size=4,
        model_key="tiny",
    )


def released(system: YoLlava, directory: Path, *known: Friend) -> list[dict[str, torch.Tensor]]:
    """New rows of embeddings and head, by the library alone, the published way."""
    theirs, reader = load(directory), load(directory)
    first, names = len(reader.encoder.tokenizer), stand_ins(len(known))
    keys = ("rows", "head") if system.asks else ("rows",)
    words = names if system.asks else []
    SoftTokens(reader, words=words, hidden=[t for n in names for t in tokens_of(n, 3)])
    behind = first + len(words)
    own = [[*range(first, behind)[i : i + 1], *range(behind + 3 * i, behind + 3 * i + 3)]
           for i in range(len(names))]  # fmt: skip
    starts = [system.first_rows(system.model.loaded(), one) for one in known]
    network = theirs.network
    network.resize_token_embeddings(behind + 3 * len(known), mean_resizing=False)
    matrices = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    with torch.no_grad():
        matrices = matrices if words else matrices[:1]  # what is never said has no row of the head
        for matrix, key in zip(matrices, keys, strict=True):
            for ids, rows in zip(own, starts, strict=True):
                matrix[ids] = rows[key]
            matrix.requires_grad_()
    old = [matrix[:first].detach().clone() for matrix in matrices]
    optimizer = torch.optim.AdamW(matrices, lr=system.lr, weight_decay=system.weight_decay)
    for batches in system.batches(*known):
        for (example,) in batches:
            (prompt,) = reader.encoder.prompts([example])
            (answer,) = reader.encoder.encode_answers([example.target])
            inputs = reader.encoder.library_inputs(prompt)
            shape, ids = inputs["input_ids"].shape, torch.cat([prompt.input_ids, answer])[None]
            inputs = {
                k: pad(x, (0, len(answer))) if x.shape == shape else x for k, x in inputs.items()
            }
            inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            logits = network(**inputs, use_cache=False).logits[0, len(prompt.input_ids) - 1 : -1]
            logits = logits if words else logits[:, :first]
            optimizer.zero_grad()
            cross_entropy(logits, answer).backward()
            optimizer.step()
            with torch.no_grad():
                for matrix, kept in zip(matrices, old, strict=True):
                    matrix[:first] = kept
    return [
        {key: matrix[ids].detach() for matrix, key in zip(matrices, keys, strict=True)}
        for ids in own
    ]


@pytest.mark.parametrize("asks", [SETTINGS["asks"], None])
def test_the_new_rows_are_those_that_the_released_way_of_training_gives(
    directory: Path, asks: str | None
) -> None:
    system, known = yollava(directory, asks=asks), friend()
    learnt = system.enroll(known)
    (theirs,) = released(system, directory, known)
    start = system.first_rows(system.model.loaded(), known)
    assert not torch.allclose(learnt.state["rows"], start["rows"], atol=1e-3)
    torch.testing.assert_close(learnt.state, theirs, atol=1e-4, rtol=1e-3)
    assert learnt.cost.parameters == (2 * 4 * 32 if asks else 3 * 32)


def test_no_row_moves_that_was_there_and_the_same_friend_gives_the_same_state(
    directory: Path,
) -> None:
    before = {n: w.clone() for n, w in load(directory).state_dict().items()}
    system = yollava(directory)
    system.enroll(friend("<ti>"))
    first, again = system.enroll(friend()), yollava(directory).enroll(friend())
    for key in ("rows", "head"):
        assert torch.equal(first.state[key], again.state[key])
    after = {n.replace(".inner", ""): w for n, w in system.model.loaded().state_dict().items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def vocabulary(policy: Policy, text: str) -> list[int]:
    return policy.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_prompt_introduces_everybody_by_their_tokens(qwen: Path) -> None:
    system = yollava(qwen, epochs=1)
    known = [friend(), friend("<ti>")]
    learnt = {one.name: system.enroll(one) for one in known}
    system.meet(known, learnt)
    references = tuple(Reference(one.name, None, one.shots[0].image) for one in known)
    example = Example("a", "caption", references, OTHER_PICTURE, "Who?", "", (), (), 2)
    (told,) = system.reword([example])
    assert told.references == ()
    both = "<bo> is <|bo 0|><|bo 1|><|bo 2|>. <ti> is <|ti 0|><|ti 1|><|ti 2|>. Who?"
    assert told.question == both
    policy = system.model.loaded()
    ids = vocabulary(policy, "<bo> <|bo 0|><|bo 1|><ti>")
    state = learnt["<bo>"].state["rows"]
    first = len(load(qwen).encoder.tokenizer)
    assert [i for i in ids if i >= first] == [first, first + 2, first + 3, first + 1]
    found = policy.embed_tokens(torch.tensor([[first, first + 2, first + 1]]))[0]
    expected = torch.stack([state[0], state[1], learnt["<ti>"].state["rows"][0]])
    assert torch.equal(found, expected)
    # A name can be said, and is one token; the others are never shown.
    hidden = torch.randn(32)
    logits = policy.logits(hidden)
    assert logits[first + 2].item() == pytest.approx(
        (hidden @ learnt["<bo>"].state["head"][1]).item(), abs=1e-5
    )
    assert policy.encoder.decode(torch.tensor([first + 2, first])) == "<bo>"
    assert len(system.write([example])) == 1
    assert system.cost().prompt_tokens is not None
    stranger = replace(example, references=(Reference("<mo>", "a toy", None),))
    with pytest.raises(ValueError, match=r"never learnt <mo>; enrolled are <bo>, <ti>"):
        system.write([stranger])


OTHER_PICTURE = portrait(OTHER, "scene", scale=1.0)


def test_a_reference_introduces_a_friend_where_no_sentence_does(qwen: Path) -> None:
    system = yollava(qwen, epochs=1, asks=None)
    (epoch,) = system.batches(friend())
    (introduced,) = {example.references for batch in epoch for example in batch}
    assert introduced == (Reference("<bo>", "".join(tokens_of(SKS, 3)), None),)
    said = {(example.question, example.target) for batch in epoch for example in batch}
    assert ("Is this <bo>?", "yes") in said
    assert ("Who is it?", "Red, <bo>.") in said
    word = next(w for w in load(qwen).encoder.tokenizer.get_vocab() if w.isalpha())
    known = [friend(), friend("<ti>"), friend(word)]  # a word that is known is no harm
    learnt = {one.name: system.enroll(one) for one in known}
    system.meet(known, learnt)
    references = tuple(Reference(one.name, None, one.shots[0].image) for one in known[:2])
    example = Example("a", "caption", references, OTHER_PICTURE, "Who?", "", (), (), 2)
    (told,) = system.reword([example])
    assert told == replace(
        example,
        references=(
            Reference("<bo>", "<|bo 0|><|bo 1|><|bo 2|>", None),
            Reference("<ti>", "<|ti 0|><|ti 1|><|ti 2|>", None),
        ),
    )
    policy, first = system.model.loaded(), len(load(qwen).encoder.tokenizer)
    ids = vocabulary(policy, "<bo> <|bo 0|><|ti 2|>")
    assert [i for i in ids if i >= first] == [first, first + 5]
    found = policy.embed_tokens(torch.tensor([[first, first + 5]]))[0]
    rows = [learnt[name].state["rows"] for name in ("<bo>", "<ti>")]
    assert torch.equal(found, torch.stack([rows[0][0], rows[1][2]]))
    assert torch.equal(policy.logits(hidden := torch.randn(32)), load(qwen).logits(hidden))
    stranger = replace(example, references=(Reference("<mo>", "a toy", None),))
    with pytest.raises(ValueError, match=r"never learnt <mo>; enrolled are <bo>, <ti>"):
        system.write([stranger])


def test_the_rows_that_answer_best_are_kept(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.2, 0.9, 0.9, 0.5])
    monkeypatch.setattr(YoLlava, "_accuracy", lambda *_: next(told))
    chosen = yollava(qwen, epochs=4, choose_after=0).enroll(friend())
    monkeypatch.undo()
    second = yollava(qwen, epochs=2, choose_after=2).enroll(friend())
    assert torch.equal(chosen.state["rows"], second.state["rows"])


def test_an_epoch_has_what_was_asked_for_and_speaks_of_nobody_by_name(qwen: Path) -> None:
    epochs = [
        [e for batch in batches for e in batch] for batches in yollava(qwen).batches(friend())
    ]
    said = [sorted((e.question, e.target) for e in epoch) for epoch in epochs]
    assert said[0] == said[1]
    introduced = f"{SKS} is {''.join(tokens_of(SKS, 3))}."
    assert said[0] == sorted(
        [
            *[(f"{introduced} Is this {SKS}?", "yes")] * 2,
            *[(f"{introduced} Is this {SKS}?", f"no, not {SKS}")] * 2,
            (f"{introduced} Who is it?", f"Red, {SKS}."),
            (f"{introduced} What is {SKS}?", f"A red toy, {SKS}."),
        ]
    )
    assert sum(e.query is None for e in epochs[0]) == 1


def test_an_info_that_has_the_name_says_it_as_the_question_does(qwen: Path) -> None:
    known = replace(friend(), info="<bo> is red")
    lessons = replace(LESSONS, about=[["What is {name}?", "{Info}."]])
    (epoch, *_) = yollava(qwen, lessons=lessons).batches(known)
    assert [e.target for (e,) in epoch if e.query is None] == [f"{SKS} is red."]


def test_friends_who_cannot_be_learnt_are_named(qwen: Path, tmp_path: Path) -> None:
    def learn(friends: list[Friend]) -> None:
        enroll_all("yollava", yollava(qwen, epochs=1), lambda: friends, tmp_path)

    known = load(qwen).encoder.tokenizer
    word = next(w for w in known.get_vocab() if w.isalpha())
    with pytest.raises(ValueError, match=r"is one token of .* already, so nothing new"):
        yollava(qwen).enroll(replace(friend(), name=word))
    with pytest.raises(ValueError, match=r"asks: '\{nam\} is' may have the fields \{name\}, "):
        yollava(qwen, asks="{nam} is")
    with pytest.raises(ValueError, match=r"asks: '\{name\} is\.' lacks \{tokens\}"):
        yollava(qwen, asks="{name} is.")
    # Whoever was learnt beside them is kept, and is not learnt again once they are renamed.
    known = [friend(), friend("<ti>")]
    with pytest.raises(ValueError, match=r"is one token of .* already, so nothing new"):
        learn([*known, replace(friend(), name=word)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    learn([*known, friend("<mo>")])
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(after) == 3
    assert {path: after[path] for path in before} == before
    alone = replace(friend(), lookalikes=(), others=())
    with pytest.raises(ValueError, match=r"no pictures of others; raise data.friends.negatives"):
        yollava(qwen).enroll(alone)
