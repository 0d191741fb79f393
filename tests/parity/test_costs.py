"""A step's costs against the engines and the library's models under torch's counter.

The counter knows no masks: eager attention computes, and it counts, every pair of a rectangle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from repic.bench.full import full_table, sized_policy
from repic.bench.paper import model_config
from repic.models.costs import (
    PACKED,
    PLAIN,
    ModelCosts,
    Scheme,
    Work,
    Workload,
    causal_pairs,
    scoring_work,
)
from repic.models.engine.plain import PlainEngine
from repic.models.memory import StepPlan, training_of
from repic.models.policy import Policy
from tests import tiny, tiny_families
from tests.counting import LORA, count, small
from tests.fakes import Noise, example
from tests.tiny import sampling

GROUP, PROMPTS, LENGTH = 3, 2, 5


def load(directory: Path, **changes: Any) -> tuple[Policy, ModelCosts]:
    policy = tiny.load(directory, attention="eager", **changes)
    return policy, ModelCosts(policy.network, policy.family)


def workload_of(policy: Policy, pictures: Sequence[Noise]) -> Workload:
    prompt = policy.encoder.encode([example("a", pictures[:1], pictures[1])])
    return Workload(
        prompts=PROMPTS,
        group_size=GROUP,
        prompt_tokens=prompt.input_ids.shape[1],
        caption_tokens=LENGTH,
        vision_flops=count(lambda: policy.picture_features(prompt.images)),
    )


@pytest.mark.parametrize("scheme", [PLAIN, PACKED])
def test_a_step_is_what_the_engines_compute(directory: Path, scheme: Scheme) -> None:
    policy, model = load(directory, lora=LORA)
    policy.stop_ids = (10**6,)  # nothing ends early
    noises = [[Noise(i, 56, 28), Noise(i + 9, 28, 42)] for i in range(PROMPTS)]
    w = workload_of(policy, noises[0])
    flops, _ = model.step(w, scheme, has_reference=True, is_checkpointed=False)
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
        return PROMPTS * model.forward.pair * (seen - pairs)

    vision = flops.vision // (3 if scheme is PLAIN else 1)
    steps = range(length + 1, length + LENGTH)  # what each newest token attends to
    drawn = 0 if scheme is PLAIN else GROUP * sum(steps)
    hidden = masked(causal_pairs(length) + drawn, length**2)
    assert sampled == vision + flops.prefill + flops.decode + hidden
    hidden = masked(scoring_work(w, scheme).pairs, GROUP * (length + fed) ** 2)
    vision = vision if scheme is PLAIN else 0  # the rollout's are kept
    counted = count(lambda: engine.reference_logprobs(policy, rollouts))
    assert counted == vision + flops.reference + hidden
    work = scoring_work(w, scheme).times(PROMPTS)
    assert flops.update == model.forward.of(work) + model.backward.of(work)
    counted = count(lambda: engine.logprobs(policy, rollouts))
    assert counted == vision + model.forward.of(work) + hidden


def language_pass(policy: Policy, length: int) -> torch.Tensor:
    axes = 3 if policy.family.uses_mrope else 1
    hidden = policy.hidden_states(
        policy.embed_tokens(torch.full((1, length), 9)),
        attention_mask=torch.ones(1, length, dtype=torch.bool),
        position_ids=torch.arange(length).expand(axes, 1, -1),
    )
    return policy.logits(hidden[:, -3:])


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_forward_and_backward_are_what_torch_counts(
    directory: Path, lora: dict | None, checkpointing: bool
) -> None:
    policy, model = load(directory, lora=lora, gradient_checkpointing=checkpointing)
    work, text = Work(17, 17 * 17, 3), policy.network.config.get_text_config()
    assert count(lambda: language_pass(policy, 17)) == model.forward.of(work)
    loss = language_pass(policy.train(), 17).sum()
    expected = model.backward.of(work)
    if checkpointing:
        expected += model.forward._replace(predicted=0).of(work)
        # Torch stops where all is there that the backward needs: before each layer's last matrix.
        last = text.hidden_size * (4 if lora else text.intermediate_size)
        expected -= 2 * 17 * text.num_hidden_layers * last
    if lora and not checkpointing:
        # Embeddings that are frozen take no gradient from the first layer's q, k and v.
        first = policy.network.model.language_model.layers[0].self_attn
        for matrix in (first.q_proj, first.k_proj, first.v_proj):
            expected -= 2 * 17 * (matrix.base_layer.weight.numel() + 4 * text.hidden_size)
    assert count(loss.backward) == expected


@pytest.mark.parametrize("lora", [None, LORA])
def test_numbers_of_weights_and_of_what_is_kept_while_decoding(
    directory: Path, lora: dict | None
) -> None:
    policy, model = load(directory, lora=lora)
    assert sum(w.numel() for w in policy.model.parameters()) == model.parameters + model.adapters
    assert sum(w.numel() for w in policy.trainable_parameters()) == model.trained
    cache = DynamicCache()
    with torch.no_grad():
        policy.hidden_states(
            policy.embed_tokens(torch.full((12, 25), 9)),
            attention_mask=torch.ones(12, 25, dtype=torch.bool),
            position_ids=torch.arange(25).expand(3 if policy.family.uses_mrope else 1, 12, -1),
            cache=cache,
        )
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert held == 12 * 25 * model.cached


@pytest.mark.parametrize("family", tiny_families.BUILDERS)
def test_every_family_can_be_counted(family: str, tmp_path: Path) -> None:
    policy = tiny.load(tiny_families.BUILDERS[family](tmp_path), attention="eager")
    model = ModelCosts(policy.network, policy.family)
    ids = torch.full((1, 9), 40)
    row = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    counted = count(lambda: policy.network(**row, use_cache=False))
    # Masked pairs are seen too, and the positions' rotation in some families.
    assert counted == pytest.approx(model.forward.of(Work(9, 81, 9)), rel=0.01)


def counted(
    name: str, layers: int, is_checkpointed: bool
) -> tuple[dict[Any, Any], dict[Any, Any], ModelCosts, tuple[int, int]]:
    """Count an update; return what was seen, what arithmetic says, and pairs: masked, and not."""
    policy = sized_policy(
        model_config(small(name, num_hidden_layers=layers)),
        pixels=112,
        pictures=2,
        text_tokens=300,
        dtype=torch.bfloat16,
        lora={"r": 64, "alpha": 64, "dropout": 0.05},
        gradient_checkpointing=is_checkpointed,
    )
    plan = StepPlan(
        prompts=2,
        group_size=4,
        prompt_tokens=300 + 2 * {"qwen2_5_vl_7b": 16, "llava_1_5_7b": 576}[name],
        caption_tokens=32,
        micro_batch_tokens=10**6,
        training=training_of(policy, has_reference=True),
        scheme=PACKED,
    )
    rows = full_table(policy, plan, tiny.packed_engine)
    seen, paper = ({r["part"]: r[kind] for r in rows} for kind in ("counted", "arithmetic"))
    prompt, fed = plan.prompt_tokens, 4 * 31
    rectangles = 2 * (prompt**2 + fed * prompt + 4 * 31**2)
    hidden = rectangles - plan.micro_batch.pairs
    return seen, paper, ModelCosts(policy.network, policy.family), (hidden, plan.micro_batch.pairs)


@pytest.mark.parametrize(
    ("name", "is_checkpointed"), [("qwen2_5_vl_7b", True), ("llava_1_5_7b", False)]
)
def test_a_layer_more_takes_what_arithmetic_says(name: str, is_checkpointed: bool) -> None:
    (seen, paper, costs, (hidden, pairs)), (more, paper_more, costs_more, _) = (
        counted(name, layers, is_checkpointed) for layers in (2, 3)
    )

    def difference(part: str) -> tuple[float, float]:
        return more[part] - seen[part], paper_more[part] - paper[part]

    found, expected = difference("· weights")
    assert found == pytest.approx(expected, rel=1e-6)
    assert seen["· weights"] == pytest.approx(paper["· weights"], rel=1e-4)  # and buffers
    assert seen["· Adam's moments"] == pytest.approx(paper["· Adam's moments"], rel=1e-4)
    # At the end of the forward, which is the peak here, as the head is large beside two layers.
    found, expected = difference("· activations and logits")
    assert found == pytest.approx(expected, rel=1e-6)
    # The counter knows no masks, and sees in the backward what flash attention computes again.
    pair = costs_more.forward.pair - costs.forward.pair
    found, expected = difference("reference TFLOP")
    assert found == pytest.approx(expected + pair * hidden / 1e12, rel=1e-6)
    found, expected = difference("update TFLOP")
    again = 0.5 * (hidden + pairs) + is_checkpointed * hidden
    assert found == pytest.approx(
        expected + pair * (3 * hidden + again) / 1e12, rel=1e-3 if is_checkpointed else 1e-6
    )
