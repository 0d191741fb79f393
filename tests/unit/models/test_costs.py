"""A whole step: against the engines under torch's counter, by hand, and by its properties."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.models.costs import (
    NAIVE,
    PACKED,
    PLAIN,
    SCHEMES,
    Training,
    Workload,
    step_costs,
)
from repic.models.costs.flops import (
    Grid,
    attention_flops,
    backward_flops,
    causal_pairs,
    forward_flops,
    vision_flops,
)
from repic.models.costs.table import make_config
from repic.models.costs.workload import decode_work, prefill_work, scoring_work
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from tests import tiny
from tests.counting import CONFIGS, LORA, PAPER, count, load
from tests.fakes import Noise, example
from tests.properties import at_most
from tests.tiny import sampling

GROUP, PROMPTS, LENGTH = 3, 2, 5


@given(st.integers(0, 6), st.integers(1, 5), st.integers(1, 4))
def test_pairs_are_those_of_the_mask(prompt: int, caption: int, group: int) -> None:
    w = Workload(
        prompts=1, group_size=group, prompt_tokens=prompt, caption_tokens=caption, images=()
    )
    fed = caption - 1
    owner = torch.tensor([-1] * prompt + [g for g in range(group) for _ in range(fed)])
    place = torch.arange(len(owner))
    is_earlier = place[:, None] >= place
    mask = is_earlier & ((owner[:, None] == owner) | (owner == -1))
    assert scoring_work(w, PACKED).pairs == mask.sum()
    assert (
        scoring_work(w, PLAIN).pairs == group * torch.ones(prompt + fed, prompt + fed).tril().sum()
    )
    assert decode_work(w).pairs == mask[prompt:].sum()
    assert prefill_work(w, PLAIN).pairs == mask[:prompt].sum() == causal_pairs(prompt)


def workload_of(policy: Policy, pictures: Sequence[Noise], grids: Sequence[Grid]) -> Workload:
    tokens = policy.encoder.encode([example("a", pictures[:1], pictures[1])]).input_ids.shape[1]
    return Workload(
        prompts=PROMPTS,
        group_size=GROUP,
        prompt_tokens=tokens,
        caption_tokens=LENGTH,
        images=tuple(grids),
    )


@pytest.mark.parametrize("scheme", [PLAIN, PACKED])
def test_a_step_is_what_the_engines_compute(directory: Path, scheme: Any) -> None:
    policy, config = load(directory, lora=LORA)
    policy.stop_ids = (10**6,)  # nothing ends early
    grids = [(1, 4, 8), (1, 6, 4)] if config.model_type == "qwen2_5_vl" else [(1, 2, 2)] * 2
    noises = [[Noise(i, 56, 28), Noise(i + 9, 28, 42)] for i in range(PROMPTS)]
    w = workload_of(policy, noises[0], grids)
    training = Training(
        lora_rank=4, has_reference=True, is_checkpointed=False, micro_batch=1, weight_bytes=4
    )
    flops = step_costs(config, w, training, scheme).flops
    engine = PlainEngine() if scheme is PLAIN else tiny.packed_engine()
    if scheme is PACKED:  # its kernels are not known to the counter: what they do is missing
        policy.network.config.get_text_config()._attn_implementation = "sdpa"
    examples = [example(str(i), pictures[:1], pictures[1]) for i, pictures in enumerate(noises)]
    rollouts: list = []
    draw = sampling(max_new_tokens=LENGTH)
    sampled = count(
        lambda: rollouts.extend(
            engine.sample(policy, examples, group_size=GROUP, sampling=draw, seed=0)
        )
    )
    length, fed = w.prompt_tokens, LENGTH - 1

    def masked(pairs: int, rectangle: int) -> int:
        """What the counter sees of pairs that the mask hides, or misses of the others."""
        seen = rectangle if scheme is PLAIN else 0
        return attention_flops(config, PROMPTS * seen) - attention_flops(config, PROMPTS * pairs)

    vision = flops.vision // (3 if scheme is PLAIN else 1)
    hidden = masked(causal_pairs(length), length**2)
    assert sampled == vision + flops.prefill + flops.decode + hidden
    hidden = masked(scoring_work(w, scheme).pairs, GROUP * (length + fed) ** 2)
    vision = vision if scheme is PLAIN else 0  # the rollout's are kept
    counted = count(lambda: engine.reference_logprobs(policy, rollouts))
    assert counted == vision + flops.reference + hidden
    work = scoring_work(w, scheme).times(PROMPTS)
    forward = forward_flops(config, work, lora_rank=4)
    assert flops.update == forward + backward_flops(config, work, lora_rank=4)
    counted = count(lambda: engine.logprobs(policy, rollouts))
    assert counted == vision + forward + hidden


def test_a_case_worked_by_hand() -> None:
    """One prompt of 3 tokens, no picture, 2 captions of 2 tokens, weights trained.

    Hidden 4, intermediate 5, one head of 4 for queries and for keys, 1 layer, vocabulary 10: a
    layer's matrices have 4 · 16 + 3 · 20 = 124 weights.
    """
    text = dict(vocab_size=10, hidden_size=4, intermediate_size=5, num_hidden_layers=1)
    text |= dict(num_attention_heads=1, num_key_value_heads=1)
    text |= dict(bos_token_id=0, eos_token_id=1)
    config = make_config({**PAPER["models"]["qwen2_5_vl_7b"], "text_config": text})
    w = Workload(prompts=1, group_size=2, prompt_tokens=3, caption_tokens=2, images=())
    training = Training(
        lora_rank=None, has_reference=True, is_checkpointed=True, micro_batch=1, weight_bytes=2
    )
    costs = step_costs(config, w, training, PACKED)
    # The prompt: 3 tokens, 1 + 2 + 3 pairs, 1 logit vector of 2 · 4 · 10.
    assert costs.flops.prefill == 2 * 3 * 124 + 4 * 6 * 4 + 80 == 920
    # One more token per caption, which sees 4.
    assert costs.flops.decode == 2 * 2 * 124 + 4 * 8 * 4 + 2 * 80 == 784
    # 5 tokens, 14 pairs, 4 places where a caption's token is predicted.
    layers = 2 * 5 * 124 + 4 * 14 * 4
    assert costs.flops.reference == layers + 4 * 80 == 1784
    assert costs.flops.update == 3 * 1784
    assert costs.flops.recomputed == layers == 1464
    assert costs.flops.vision == 0
    assert costs.flops.model == 920 + 784 + 4 * 1784
    assert costs.flops.hardware == costs.flops.model + 1464
    assert costs.tokens == 3 + 2 + 5 + 5
    # In rows: 2 × 4 tokens, 2 × 10 pairs; everything of the prompt twice in the naive rollout.
    rows = 2 * 8 * 124 + 4 * 20 * 4 + 4 * 80
    plain, naive = (step_costs(config, w, training, scheme) for scheme in (PLAIN, NAIVE))
    assert plain.flops.reference == naive.flops.reference == rows == 2624
    assert plain.tokens == 3 + 2 + 8 + 8
    assert naive.flops.prefill == 2 * 920
    assert naive.tokens == 6 + 2 + 8 + 8


@at_most(12)  # of 21 steps each
@given(st.data(), st.sampled_from(sorted(CONFIGS)))
def test_sharing_saves_and_more_work_costs_more(data: Any, name: str) -> None:
    w = Workload(
        prompts=data.draw(st.integers(1, 4)),
        group_size=data.draw(st.integers(1, 9)),
        prompt_tokens=data.draw(st.integers(1, 3000)),
        caption_tokens=data.draw(st.integers(1, 300)),
        images=((1, 24, 24),) * data.draw(st.integers(0, 2)),
    )
    t = Training(
        lora_rank=data.draw(st.sampled_from([None, 8])),
        has_reference=data.draw(st.booleans()),
        is_checkpointed=data.draw(st.booleans()),
        micro_batch=data.draw(st.integers(1, 4)),
        weight_bytes=data.draw(st.sampled_from([2, 4])),
    )
    config = CONFIGS[name]
    naive, plain, packed = (step_costs(config, w, t, scheme) for scheme in SCHEMES)
    for more, less in ((naive, plain), (plain, packed)):
        assert more.tokens >= less.tokens
        assert more.memory.peak >= less.memory.peak
        for field in fields(more.flops):
            assert getattr(more.flops, field.name) >= getattr(less.flops, field.name)
    schemes = [replace(scheme, keeps_features=False) for scheme in SCHEMES]
    alone = [step_costs(config, replace(w, group_size=1), t, scheme) for scheme in schemes]
    assert alone[0] == alone[1] == alone[2]
    for scheme, costs in zip(SCHEMES, (naive, plain, packed), strict=True):
        twice = step_costs(config, replace(w, prompts=2 * w.prompts), t, scheme)
        assert twice.tokens == 2 * costs.tokens
        assert twice.flops.hardware == 2 * costs.flops.hardware
        for key in ("prompt_tokens", "caption_tokens", "group_size"):
            longer = replace(w, **{key: getattr(w, key) + 1})
            more = step_costs(config, longer, t, scheme)
            assert more.flops.model > costs.flops.model
            assert more.memory.cache >= costs.memory.cache


def test_what_is_not_done_costs_nothing() -> None:
    config = CONFIGS["llava_1_5_7b"]
    w = Workload(
        prompts=2, group_size=3, prompt_tokens=600, caption_tokens=9, images=((1, 24, 24),)
    )
    t = Training(
        lora_rank=8, has_reference=True, is_checkpointed=True, micro_batch=1, weight_bytes=2
    )
    full = step_costs(config, w, t, PLAIN).flops
    assert full.recomputed > 0
    assert full.vision == 2 * 3 * vision_flops(config, w.images)  # prompts × passes
    assert step_costs(config, w, t, NAIVE).flops.vision == 3 * full.vision
    bare = replace(t, has_reference=False, is_checkpointed=False)
    less = step_costs(config, w, bare, PLAIN).flops
    assert less == replace(full, vision=full.vision // 3 * 2, reference=0, recomputed=0)
