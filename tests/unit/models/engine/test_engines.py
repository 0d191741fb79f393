from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from repic.models.engine.decoding import heard
from repic.models.engine.logprobs import pad_completions, token_logprobs
from repic.models.engine.packed import PackedEngine
from repic.models.engine.plain import PlainEngine
from repic.models.engine.sampling import NotFiniteError
from repic.models.policy import Policy
from repic.types import Example, Rollout
from tests import library, tiny
from tests.fakes import Noise, example, mixed_examples

Engine = PlainEngine | PackedEngine


@pytest.fixture(params=["plain", "packed"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return PlainEngine() if request.param == "plain" else tiny.packed_engine()


DRAW = tiny.sampling(max_new_tokens=8)
GREEDY = tiny.sampling(temperature=0.0, max_new_tokens=12)


def sample(engine: Engine, policy: Policy, examples: list[Example], **changes) -> list[Rollout]:
    settings = {"group_size": 3, "sampling": DRAW, "seed": 0}
    return engine.sample(policy, examples, **{**settings, **changes})


def padded(rollouts: list[Rollout]) -> Tensor:
    logprobs = [rollout.logprobs for rollout in rollouts]
    return torch.nn.utils.rnn.pad_sequence(logprobs, batch_first=True)


def stopping(policy: Policy, *, count: int = 60) -> Policy:
    """Let many tokens end a completion, so that rollouts end at different places."""
    policy.stop_ids = tuple(range(300, 300 + count))
    return policy


def test_rollouts_come_group_after_group(engine: Engine, qwen: Path) -> None:
    policy = stopping(tiny.load(qwen))
    examples = mixed_examples()
    rollouts = sample(engine, policy, examples)
    assert [r.example.id for r in rollouts] == [e.id for e in examples for _ in range(3)]
    for rollout in rollouts:
        ids = rollout.completion_ids.tolist()
        assert len(ids) == len(rollout.logprobs) <= 8
        assert rollout.finished == (ids[-1] in policy.stop_ids)
        assert rollout.finished or len(ids) == 8
        assert not set(ids[:-1]) & set(policy.stop_ids)
        assert rollout.text == policy.encoder.decode(rollout.completion_ids)
    assert len({len(r.completion_ids) for r in rollouts}) > 2
    assert {r.finished for r in rollouts} == {True, False}


def test_a_listener_hears_the_first_completion_grow(engine: Engine, qwen: Path) -> None:
    policy = tiny.load(qwen)
    heard_texts: list[str] = []
    with heard(heard_texts.append):
        first, *_ = sample(engine, policy, mixed_examples())
    assert len(heard_texts) == len(first.completion_ids)
    for number, text in enumerate(heard_texts, start=1):
        assert text == policy.encoder.decode(first.completion_ids[:number]).rstrip("\ufffd")
    sample(engine, policy, mixed_examples())  # nobody listens any more
    assert len(heard_texts) == len(first.completion_ids)


def test_members_of_a_group_differ_and_seeds_decide(engine: Engine, qwen: Path) -> None:
    policy = tiny.load(qwen)
    draw = [
        [
            tuple(r.completion_ids.tolist())
            for r in sample(engine, policy, mixed_examples(), seed=seed)
        ]
        for seed in (1, 1, 2)
    ]
    assert len(set(draw[0])) == 9
    assert draw[0] == draw[1]
    assert not set(draw[0]) & set(draw[2])


def test_a_group_does_not_depend_on_its_batch(engine: Engine, directory: Path) -> None:
    policy = stopping(tiny.load(directory), count=20)
    together = sample(engine, policy, mixed_examples(), group_size=4)
    for b, one in enumerate(mixed_examples()):
        alone = sample(engine, policy, [one], group_size=2)
        for g, rollout in enumerate(alone):
            assert torch.equal(rollout.completion_ids, together[4 * b + g].completion_ids)
            torch.testing.assert_close(
                rollout.logprobs, together[4 * b + g].logprobs, atol=1e-5, rtol=0
            )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_samplers_logprobs_are_the_policys(
    engine: Engine, directory: Path, temperature: float
) -> None:
    policy = stopping(tiny.load(directory))
    truncated = tiny.sampling(temperature=temperature, top_p=0.9, top_k=50, max_new_tokens=8)
    rollouts = sample(engine, policy, mixed_examples(), sampling=truncated)
    scored = engine.logprobs(policy, rollouts, entropy=True)
    torch.testing.assert_close(scored.logprobs.detach(), padded(rollouts), atol=1e-5, rtol=0)
    lengths = [len(r.completion_ids) for r in rollouts]
    assert scored.mask.sum(dim=1).tolist() == lengths
    assert bool((scored.entropy[scored.mask] > 0).all())
    assert not scored.logprobs[~scored.mask].any()
    assert not scored.entropy.requires_grad


def test_sampled_tokens_follow_the_distribution(engine: Engine, qwen: Path) -> None:
    policy = tiny.load(qwen)
    one = example("a", [Noise(1)])
    vocab = policy.network.get_output_embeddings().out_features
    short = tiny.sampling(max_new_tokens=1)
    drawn = torch.cat(
        [r.completion_ids for r in sample(engine, policy, [one], group_size=4000, sampling=short)]
    )
    every = [Rollout(one, "", torch.tensor([v]), torch.zeros(1), True) for v in range(vocab)]
    probs = engine.logprobs(policy, every).logprobs.detach().exp().flatten()
    frequent = probs > 5 / 4000
    counts, expected = drawn.bincount(minlength=vocab)[frequent], 4000 * probs[frequent]
    # Pearson's statistic has about as many degrees of freedom as there are frequent tokens, n, and
    # is beyond n + 5 sqrt(2 n) less than once in 10,000 times.
    statistic, n = ((counts - expected) ** 2 / expected).sum().item(), int(frequent.sum())
    assert n > 50
    assert statistic < n + 5 * (2 * n) ** 0.5


def greedy_of_library(policy: Policy, folder: Path, examples: list[Example]) -> Tensor:
    generated = policy.model.generate(
        **library.inputs(folder, examples),
        do_sample=False,
        max_new_tokens=GREEDY.max_new_tokens,
        eos_token_id=list(policy.stop_ids),
        pad_token_id=0,
    )
    return generated[:, -GREEDY.max_new_tokens :]


@pytest.mark.parametrize("count", [1, 60])
def test_greedy_equals_the_librarys_generate(engine: Engine, directory: Path, count: int) -> None:
    policy = stopping(tiny.load(directory), count=count)
    examples = [*mixed_examples(), example("x", [Noise(7)]), example("y", query=Noise(8, 56, 14))]
    expected = greedy_of_library(policy, directory, examples)
    rollouts = sample(engine, policy, examples, group_size=2, sampling=GREEDY)
    assert count == 1 or any(rollout.finished for rollout in rollouts)
    for i, rollout in enumerate(rollouts):
        length = len(rollout.completion_ids)
        assert torch.equal(rollout.completion_ids, expected[i // 2, :length])
        assert not expected[i // 2, length:].any()  # the library goes no further either


def gradients(policy: Policy) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return found


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().item() + 0.05  # some, such as a key's bias, are noise around 0
        torch.testing.assert_close(found[name], value, atol=2e-5 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("train_vision", [True, False])
def test_micro_batches_add_up(engine: Engine, directory: Path, train_vision: bool) -> None:
    policy = stopping(tiny.load(directory, train_vision=train_vision))
    rollouts = sample(engine, policy, mixed_examples(), group_size=2)
    weights = torch.linspace(-1, 1, len(rollouts))
    for i, weight in enumerate(weights):
        (weight * engine.logprobs(policy, [rollouts[i]]).logprobs.sum()).backward()
    one_by_one = gradients(policy)
    (weights @ engine.logprobs(policy, rollouts).logprobs.sum(dim=1)).backward()
    together = gradients(policy)
    assert_same_gradients(together, one_by_one)
    is_vision = [name for name in together if "language" not in name and "lm_head" not in name]
    assert bool(is_vision) == train_vision
    assert all(torch.isfinite(value).all() for value in together.values())


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.0}])
def test_checkpointing_changes_nothing(engine: Engine, qwen: Path, lora: dict | None) -> None:
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        policy = tiny.load(qwen, lora=lora, train_vision=True, gradient_checkpointing=checkpointing)
        assert policy.network.is_gradient_checkpointing == checkpointing
        policy.train()
        rollouts = sample(engine, stopping(policy), mixed_examples())
        assert policy.training
        logprobs = engine.logprobs(policy, rollouts).logprobs
        logprobs.sum().backward()
        results.append((logprobs.detach(), gradients(policy)))
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-6, rtol=0)
    assert_same_gradients(results[1][1], results[0][1])


def test_targets_are_scored_with_their_end(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    examples, targets = mixed_examples(), ["a bear", "a green cat, <bo>, sits", ""]
    scored = engine.target_logprobs(policy, examples, targets)
    answers = policy.encoder.encode_answers(targets)
    assert scored.mask.sum(dim=1).tolist() == [len(ids) for ids in answers]
    as_rollouts = [
        Rollout(one, "", ids, torch.zeros(len(ids)), True)
        for one, ids in zip(examples, answers, strict=True)
    ]
    torch.testing.assert_close(
        scored.logprobs, engine.logprobs(policy, as_rollouts).logprobs, atol=0, rtol=0
    )


def test_positions_jump_alike_in_both_engines(directory: Path) -> None:
    policy, examples = tiny.load(directory), mixed_examples()
    targets = ["a bear", "a green cat, <bo>, sits", "a red bear sits"]

    def scores(engine: Engine, jumps: float) -> Tensor:
        torch.manual_seed(1)
        return engine.target_logprobs(policy, examples, targets, jumps=jumps).logprobs

    jumping, still = scores(PlainEngine(), 0.9), scores(PlainEngine(), 0.0)
    torch.testing.assert_close(scores(tiny.packed_engine(), 0.9), jumping, atol=1e-5, rtol=0)
    moved = (jumping - still).abs().amax(1) > 1e-4
    assert moved.any()
    assert not moved.all()  # half of the answers stay as they are


def test_pictures_matter(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    scores = [
        engine.target_logprobs(policy, [example("a", [Noise(seed)])], ["a red bear"]).logprobs
        for seed in (1, 2)
    ]
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_a_completion_may_hold_a_placeholder(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    image = policy.encoder.image_token_id
    ids = torch.tensor([40, image, 41, policy.encoder.end_id])
    rollout = Rollout(example("a", [Noise(1)]), "", ids, torch.zeros(4), True)
    assert torch.isfinite(engine.logprobs(policy, [rollout]).logprobs).all()


def test_a_completion_that_cannot_fit_is_refused(engine: Engine, llava: Path) -> None:
    long = tiny.sampling(max_new_tokens=500)
    with pytest.raises(ValueError, match=r"example a: .*max_new_tokens=500 exceed the model's 512"):
        sample(engine, tiny.load(llava), [example("a", [Noise(1)])], sampling=long)


def test_padding_completions() -> None:
    ids, mask = pad_completions([torch.tensor([5]), torch.tensor([6, 7, 8])])
    assert ids.tolist() == [[5, 0, 0], [6, 7, 8]]
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_logprobs_worked_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]).log() + 3
    logprobs, entropy = token_logprobs(logits, torch.tensor([1, 0]))
    assert logprobs.exp().tolist() == pytest.approx([0.25, 1.0])
    # 1/2 log 2 + 2 * 1/4 log 4 = 1.5 log 2; certainty has none.
    assert entropy.tolist() == pytest.approx([1.0397208, 0.0])


def test_a_stop_string_ends_a_completion(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    policy.stop_ids = ()
    greedy = replace(GREEDY, max_new_tokens=30)
    whole = sample(engine, policy, mixed_examples(), group_size=1, sampling=greedy)
    # A piece of the first text that may begin and end inside a token.
    stop = whole[0].text[3:6]
    ended = sample(
        engine, policy, mixed_examples(), group_size=1, sampling=replace(greedy, stop=["no!", stop])
    )
    for before, after in zip(whole, ended, strict=True):
        length = len(after.completion_ids)
        assert torch.equal(after.completion_ids, before.completion_ids[:length])
        assert after.finished == (stop in before.text)
        assert after.text == before.text.split(stop)[0].rstrip()
        said = policy.encoder.decode(after.completion_ids)
        assert (stop in said) == after.finished
        if after.finished:  # the first token that completes the string is the last one
            assert stop not in policy.encoder.decode(after.completion_ids[:-1])


def test_portions_respect_the_budget(directory: Path) -> None:
    policy = tiny.load(directory)
    prompts = mixed_examples()
    sizes = [len(prompt.input_ids) for prompt in policy.encoder.prompts(prompts)]
    rollouts = [
        Rollout(one, "", torch.ones(4).long(), torch.zeros(4), True)
        for one in prompts
        for _ in "123"
    ]
    plain, packed = PlainEngine(), tiny.packed_engine()
    row = max(sizes) + 4
    assert plain.split(policy, rollouts, max_tokens=10**6) == [slice(0, 9)]
    assert len(plain.split(policy, rollouts, max_tokens=row)) > 3
    assert packed.split(policy, rollouts, max_tokens=sum(sizes) + 36) == [slice(0, 9)]
    # One token less, and the last group has a portion of its own.
    cut = packed.split(policy, rollouts, max_tokens=sum(sizes) + 35)
    assert cut == [slice(0, 6), slice(6, 9)]
    # A group alone is too long: its prompt is computed once for two captions, once for one.
    cut = packed.split(policy, rollouts[:3], max_tokens=sizes[0] + 8)
    assert cut == [slice(0, 2), slice(2, 3)]
    # Nothing fits: a caption at a time.
    assert packed.split(policy, rollouts, max_tokens=1) == [slice(i, i + 1) for i in range(9)]


def test_an_answer_with_a_placeholder_is_refused(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    token = policy.encoder.tokenizer.convert_ids_to_tokens(policy.encoder.image_token_id)
    examples = [example("good"), example("bad")]
    with pytest.raises(ValueError, match=r"example bad: the answer .*a cat.*stands for a picture"):
        engine.target_logprobs(policy, examples, ["a dog", f"a cat {token}"])


def test_a_picture_smaller_than_a_patch_is_enlarged(engine: Engine, directory: Path) -> None:
    policy = tiny.load(directory)
    dot, strip = example("dot", [Noise(1, 1, 1)]), example("strip", [Noise(1, 3, 90)])
    for rollout in sample(engine, policy, [dot, strip]):
        assert len(rollout.completion_ids) > 0


@pytest.mark.parametrize(("temperature", "value"), [(0.0, float("nan")), (1.0, float("inf"))])
@pytest.mark.parametrize("by_library", [False, True])
def test_a_token_is_not_drawn_from_logits_that_are_not_finite(
    engine: Engine,
    qwen: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_library: bool,
    temperature: float,
    value: float,
) -> None:
    policy = tiny.load(qwen)
    if by_library:
        monkeypatch.setattr(policy.encoder, "family", replace(policy.family, unpackable="so"))
    weight, calls = policy.network.lm_head.weight, []

    def head(states: Tensor) -> Tensor:
        """The third token of the last row is spoiled."""
        logits = nn.functional.linear(states, weight)
        calls.append(logits)
        if len(calls) == 3:
            logits[-1, ..., 7] = value
        return logits

    monkeypatch.setattr(policy.network.lm_head, "forward", head)
    said = r"^example b: .* logits of token 3 are NaN or infinite, though its weights are not"
    with pytest.raises(NotFiniteError, match=said) as caught:
        sample(engine, policy, [example("b")], sampling=replace(DRAW, temperature=temperature))
    assert (caught.value.rows, caught.value.step, len(calls)) == ((2,), 2, 3)


def test_a_weight_that_is_no_number_is_named_when_nothing_can_be_drawn(
    engine: Engine, qwen: Path
) -> None:
    policy = tiny.load(qwen)
    with torch.no_grad():
        policy.network.lm_head.weight[7, 3] = float("nan")
    asked = [example("a"), example("b")]
    with pytest.raises(NotFiniteError, match=r"example a and 5 other captions: .* of token 1 are"):
        sample(engine, policy, asked)
    with pytest.raises(NotFiniteError, match=r"and so are weights \(lm_head.weight\)$"):
        sample(engine, policy, asked, sampling=GREEDY)


@pytest.mark.parametrize("lengths", [[4, 4, 4], [1, 5, 3]])
def test_a_packed_update_never_waits_for_its_device(directory: Path, lengths: list[int]) -> None:
    # On this device tensors have no numbers: whoever wants one on the CPU is told so. On a GPU
    # they would have to wait for all that has been asked of it.
    engine = tiny.packed_engine()
    policy = tiny.load(directory, lora={"r": 2, "alpha": 2, "dropout": 0.1}).train().to("meta")
    two = [example("a", [Noise(1, 56, 28)], Noise(2)), example("b", [], Noise(3))]
    rollouts = [
        Rollout(one, "", torch.arange(n) + 40, torch.zeros(n), False)
        for one in two
        for n in lengths
    ]
    with torch.no_grad():
        assert engine.reference_logprobs(policy, rollouts).is_meta
    scored = engine.logprobs(policy, rollouts, entropy=True)
    scored.logprobs.sum().backward()
    assert scored.mask.is_meta
    assert all(p.grad.is_meta for p in policy.trainable_parameters())
