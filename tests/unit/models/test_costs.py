"""A step's costs by hand, and by their properties; ``tests/parity`` counts what is computed."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.bench.paper import make_network
from repic.models.costs import (
    NAIVE,
    PACKED,
    PLAIN,
    SCHEMES,
    ModelCosts,
    Workload,
    causal_pairs,
    decode_work,
    prefill_work,
    scoring_work,
)
from repic.models.families import family_of
from tests.counting import small


@given(st.integers(0, 6), st.integers(1, 5), st.integers(1, 4))
def test_pairs_are_those_of_the_mask(prompt: int, caption: int, group: int) -> None:
    w = Workload(
        prompts=1, group_size=group, prompt_tokens=prompt, caption_tokens=caption, vision_flops=0
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


def test_a_case_worked_by_hand() -> None:
    """One prompt of 3 tokens, no picture, 2 captions of 2 tokens, weights trained.

    Hidden 4, intermediate 5, one head of 4 for queries and for keys, 1 layer, vocabulary 10: a
    layer's matrices have 4 · 16 + 3 · 20 = 124 weights.
    """
    text: dict[str, Any] = dict(vocab_size=10, hidden_size=4, intermediate_size=5)
    text |= dict(num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=1)
    text |= dict(bos_token_id=0, eos_token_id=1, pad_token_id=2)
    model = measured("qwen2_5_vl_7b", None, **text)
    w = Workload(prompts=1, group_size=2, prompt_tokens=3, caption_tokens=2, vision_flops=0)
    flops, tokens = model.step(w, PACKED, has_reference=True, is_checkpointed=True)
    # The prompt: 3 tokens, 1 + 2 + 3 pairs, 1 logit vector of 2 · 4 · 10.
    assert flops.prefill == 2 * 3 * 124 + 4 * 6 * 4 + 80 == 920
    # One more token per caption, which sees 4.
    assert flops.decode == 2 * 2 * 124 + 4 * 8 * 4 + 2 * 80 == 784
    # 5 tokens, 14 pairs, 4 places where a caption's token is predicted.
    layers = 2 * 5 * 124 + 4 * 14 * 4
    assert flops.reference == layers + 4 * 80 == 1784
    assert flops.update == 3 * 1784
    assert flops.recomputed == layers == 1464
    assert flops.vision == 0
    assert flops.model == 920 + 784 + 4 * 1784
    assert tokens == 3 + 2 + 5 + 5
    # In rows: 2 × 4 tokens, 2 × 10 pairs; everything of the prompt twice in the naive rollout.
    rows = 2 * 8 * 124 + 4 * 20 * 4 + 4 * 80
    (plain, plain_tokens), (naive, naive_tokens) = (
        model.step(w, scheme, has_reference=True, is_checkpointed=True) for scheme in (PLAIN, NAIVE)
    )
    assert plain.reference == naive.reference == rows == 2624
    assert plain_tokens == 3 + 2 + 8 + 8
    assert naive.prefill == 2 * 920
    assert naive_tokens == 6 + 2 + 8 + 8


@cache
def measured(name: str, rank: int | None, **text: Any) -> ModelCosts:
    network = make_network(small(name, **text), lora_rank=rank)
    return ModelCosts(network, family_of(network.config))


@given(st.data(), st.sampled_from(["qwen2_5_vl_7b", "llava_1_5_7b"]), st.sampled_from([None, 8]))
def test_sharing_saves_and_more_work_costs_more(data: Any, name: str, rank: int | None) -> None:
    model = measured(name, rank)
    w = Workload(
        prompts=data.draw(st.integers(1, 4)),
        group_size=data.draw(st.integers(1, 9)),
        prompt_tokens=data.draw(st.integers(1, 3000)),
        caption_tokens=data.draw(st.integers(1, 300)),
        vision_flops=data.draw(st.integers(0, 10**12)),
    )
    also = {"has_reference": data.draw(st.booleans()), "is_checkpointed": data.draw(st.booleans())}
    naive, plain, packed = (model.step(w, scheme, **also) for scheme in SCHEMES)
    for (more, more_tokens), (less, less_tokens) in ((naive, plain), (plain, packed)):
        assert more_tokens >= less_tokens
        for field in fields(more):
            assert getattr(more, field.name) >= getattr(less, field.name)
    alone = replace(w, group_size=1, vision_flops=0)  # features are kept from pass to pass
    assert len({model.step(alone, scheme, **also) for scheme in SCHEMES}) == 1
    for scheme, (flops, tokens) in zip(SCHEMES, (naive, plain, packed), strict=True):
        twice, twice_tokens = model.step(replace(w, prompts=2 * w.prompts), scheme, **also)
        assert twice_tokens == 2 * tokens
        assert (twice.model, twice.recomputed) == (2 * flops.model, 2 * flops.recomputed)
        for key in ("prompt_tokens", "caption_tokens", "group_size"):
            longer = replace(w, **{key: getattr(w, key) + 1})
            assert model.step(longer, scheme, **also)[0].model > flops.model


def test_what_is_not_done_costs_nothing() -> None:
    model = measured("llava_1_5_7b", 8)
    w = Workload(prompts=2, group_size=3, prompt_tokens=600, caption_tokens=9, vision_flops=7)
    full, _ = model.step(w, PLAIN, has_reference=True, is_checkpointed=True)
    assert full.recomputed > 0
    assert full.vision == 2 * 3 * 7  # prompts × passes
    naive, _ = model.step(w, NAIVE, has_reference=True, is_checkpointed=True)
    assert naive.vision == 3 * full.vision
    less, _ = model.step(w, PLAIN, has_reference=False, is_checkpointed=False)
    assert (less.recomputed, less.reference) == (0, 0)
    assert less.vision == 2 * 2 * 7
    assert less.update == full.update
