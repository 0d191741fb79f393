"""The engine that computes a prompt once gives what the plain one gives, gradients included."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.models.engine.packed import PackedEngine
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Example, Rollout
from tests import tiny
from tests.fakes import Noise, example, mixed_examples
from tests.properties import at_most

LORA = {"r": 4, "alpha": 8, "dropout": 0.0}
WAYS = {
    "all": {"train_vision": True},
    "language": {},
    "lora": {"lora": LORA},
    "checkpointing": {"train_vision": True, "gradient_checkpointing": True},
    "lora-checkpointing": {"lora": LORA, "gradient_checkpointing": True},
}


@cache
def policy_of(architecture: str, way: str) -> Policy:
    """Load each model once, with adapters that do something."""
    build = {"qwen": tiny.build_qwen, "llava": tiny.build_llava}[architecture]
    policy = tiny.load(build(Path(mkdtemp())), **WAYS[way])
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    policy.freeze_reference()
    return policy.train()


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Rollout], int]:
    """Groups of 1 to 16 captions of 1 to 9 tokens, behind 0 to 6 pictures; and a token budget."""
    rollouts = []
    for number in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 5))
        sizes = [draw(st.sampled_from([(28, 28), (14, 28), (56, 42)])) for _ in range(count + 1)]
        pictures = [Noise(10 * number + i, *size) for i, size in enumerate(sizes)]
        words = "Who is it? " * draw(st.integers(1, 4))
        is_blind = count == 0 and draw(st.booleans())
        one = example(f"e{number}", pictures[1:], None if is_blind else pictures[0], question=words)
        for _ in range(draw(st.integers(1, 16))):
            ids = draw(st.lists(st.integers(5, 250), min_size=1, max_size=9))
            rollouts.append(Rollout(one, "", torch.tensor(ids), torch.zeros(len(ids)), False))
    return rollouts, draw(st.sampled_from([10**6, 150, 60]))


def gradients_of(policy: Policy, engine: PlainEngine | PackedEngine, rollouts, budget):
    """Score in portions, weighing every token differently."""
    policy.zero_grad()
    rows = []
    for span in engine.split(policy, rollouts, max_tokens=budget):
        scored = engine.logprobs(policy, rollouts[span], entropy=True)
        found = [row[mask] for row, mask in zip(scored.logprobs, scored.mask, strict=True)]
        total = torch.zeros(())
        for offset, row in enumerate(found, start=span.start):
            weights = torch.linspace(-1, 1.5, len(row)) * (1 - 0.1 * offset)
            total = total + (weights * row).sum()
        total.backward()
        rows += [row.detach() for row in found]
    gradients = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    return torch.cat(rows), {name: grad.clone() for name, grad in gradients.items()}


def assert_same_gradients(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert expected
    # A key's bias has no part in attention: its gradient is rounding alone, and is compared with
    # the others' size.
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(gradient.abs().max().item(), 1e-2 * largest)
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ["qwen", "llava"])
@at_most(8)
@given(batch=batches())
def test_logprobs_and_gradients_equal_the_plain_engine(architecture, way, batch):
    policy, (rollouts, budget) = policy_of(architecture, way), batch
    expected, plain = gradients_of(policy, PlainEngine(), rollouts, 10**6)
    found, packed = gradients_of(policy, tiny.packed_engine(), rollouts, budget)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert_same_gradients(packed, plain)


@pytest.mark.parametrize("architecture", ["qwen", "llava"])
@at_most(8)
@given(batch=batches())
def test_entropy_mask_and_reference_equal_the_plain_engine(architecture, batch):
    policy, (rollouts, _) = policy_of(architecture, "all"), batch
    plain, packed = PlainEngine(), tiny.packed_engine()
    with torch.no_grad():
        expected = plain.logprobs(policy, rollouts, entropy=True)
        found = packed.logprobs(policy, rollouts, entropy=True)
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.entropy, expected.entropy, atol=1e-5, rtol=0)
    assert packed.logprobs(policy, rollouts[:1]).entropy is None
    references = [engine.reference_logprobs(policy, rollouts) for engine in (plain, packed)]
    torch.testing.assert_close(references[1], references[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["qwen", "llava"])
def test_half_precision_loses_no_more_than_in_the_plain_engine(architecture, tmp_path):
    build = {"qwen": tiny.build_qwen, "llava": tiny.build_llava}[architecture]
    build(tmp_path)
    policy, exact = (tiny.load(tmp_path, dtype=dtype) for dtype in ("bfloat16", "float32"))
    prompts = [example(f"e{i}", [Noise(i)], Noise(9 + i), "Who? " * (i + 1)) for i in range(3)]
    draw = torch.Generator().manual_seed(0)
    rollouts = [
        Rollout(one, "", torch.randint(5, 250, (3 + 5 * g,), generator=draw), torch.zeros(1), False)
        for one in prompts
        for g in range(4)
    ]
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.copy_(parameter.bfloat16())
        truth, mask, _ = PlainEngine().logprobs(exact, rollouts)
        plain, packed = (
            (engine.logprobs(policy, rollouts).logprobs - truth)[mask].abs()
            for engine in (PlainEngine(), tiny.packed_engine())
        )
    assert plain.mean() > 1e-3  # half precision shows
    assert packed.mean() < 1.2 * plain.mean()
    assert packed.max() < 1.5 * plain.max()


@pytest.mark.parametrize("architecture", ["qwen", "llava"])
def test_rollouts_equal_the_plain_engine_s(architecture):
    policy = policy_of(architecture, "lora")
    policy.stop_ids = tuple(range(300, 330))  # so that rollouts end at different places
    prompts: list[Example] = [
        *mixed_examples(),
        example("x", [Noise(7)]),
        example("y", query=Noise(8, 56, 14)),
    ]
    for group_size in (1, 2, 7):
        drawn = [
            engine.sample(
                policy,
                prompts,
                group_size=group_size,
                sampling=tiny.sampling(max_new_tokens=70, temperature=0.9, min_p=0.001),
                seed=group_size,
            )
            for engine in (PlainEngine(), tiny.packed_engine())
        ]
        lengths = {len(rollout.completion_ids) for rollout in drawn[0]}
        assert group_size == 1 or len(lengths) > 5
        for plain, packed in zip(*drawn, strict=True):
            assert plain.completion_ids.tolist() == packed.completion_ids.tolist()
            assert (plain.text, plain.finished) == (packed.text, packed.finished)
            torch.testing.assert_close(packed.logprobs, plain.logprobs, atol=1e-5, rtol=0)
    policy.stop_ids = (policy.encoder.end_id,)


def test_what_cannot_be_packed_is_refused(tmp_path):
    policy = tiny.load(tiny.build_qwen(tmp_path), attention="eager")
    rollout = Rollout(example("a"), "", torch.tensor([40]), torch.zeros(1), False)
    with pytest.raises(ValueError, match=r"model.attention=eager .* choose sdpa .*engine=plain"):
        tiny.packed_engine().logprobs(policy, [rollout])
    PlainEngine().logprobs(policy, [rollout])
    for key, value in (("attention_dropout", 0.1), ("layer_types", ["sliding_attention"])):
        policy = tiny.load(tmp_path).train()
        setattr(policy.network.config.get_text_config(), key, value)
        with pytest.raises(ValueError, match="choose engine=plain"):
            tiny.packed_engine().logprobs(policy, [rollout])
