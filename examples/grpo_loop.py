"""The whole algorithm in one loop, on the tiny model: python -m examples.grpo_loop (a minute).

GRPO, https://arxiv.org/abs/2402.03300, with the package's functions, and without what a run adds:
configuration, micro-batches, several updates, checkpoints, guards, ranks, diagnostics. Its numbers
are those of a run with the same settings; see tests/integration/test_grpo_loop.py.
"""

from collections.abc import Iterator

import torch
from torch.nn.utils import clip_grad_norm_

from repic.data.prompts import PromptTemplate
from repic.models.engine.packed import PackedEngine
from repic.models.engine.sampling import Sampling
from repic.models.loading import load_policy
from repic.models.policy import Policy
from repic.phases.randomness import stream_seed
from repic.phases.schedule import warmup_cosine
from repic.rewards.recognition import RecognitionReward
from repic.rewards.rubric import Rubric
from repic.rl.advantages import group_advantages
from repic.rl.kl import kl_penalty
from repic.rl.losses import grpo_loss, token_weights
from repic.toybox.dataset import CaptionDataset, SceneRules

SEED, ITERATIONS, PROMPTS, GROUP_SIZE = 0, 3, 4, 4  # 16 captions an iteration
LR, KL_COEF, CLIP_EPS, GRAD_CLIP = 3e-4, 0.04, 0.2, 1.0
SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=48, stop=[])
RULES = SceneRules(absent=[1, 2], lookalike=0.6, strangers=[0, 5], drop_image=0.15, drop_info=0.5,
                   omit=0.4, swap=0.1)  # fmt: skip
ASKED = ("Describe this picture.", "Who is in this picture?", "What do you see in this picture?")
PROMPT = PromptTemplate(system=None, reference="{index}.[{image}][ Info: {info}.] Name: {name}\n",
                        query="[{image}]{question}")  # fmt: skip


def load_tiny() -> Policy:
    """The base model that comes with the package; its vision tower stays as it is."""
    return load_policy(
        "package://repic/models/tiny",
        dtype="float32",
        attention="sdpa",
        lora=None,
        train_vision=False,
        export="merged",
        gradient_checkpointing=False,
        min_pixels=None,
        max_pixels=None,
        prompt=PROMPT,
    )


def train(policy: Policy) -> Iterator[dict[str, float]]:
    """Sample, score, credit, update; yield each iteration's numbers."""
    size, seed = ITERATIONS * PROMPTS, stream_seed(SEED, "grpo")
    examples = CaptionDataset("train", counts=[1, 2], size=size, seed=seed, rules=RULES,
                              questions=ASKED, scale=1.0)  # fmt: skip
    reward = RecognitionReward(detector=lambda e: e.present, absent_cost=1.0, tasks=["caption"])
    rubric = Rubric({"recognition": reward}, {"recognition": 1.0})
    engine = PackedEngine(feature_cache=1024, cuda_graphs=False)
    parameters = policy.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    policy.freeze_reference()
    policy.train()
    for iteration in range(ITERATIONS):
        # Sample: a group of captions for each prompt.
        prompts = [examples[iteration * PROMPTS + i] for i in range(PROMPTS)]
        seed = stream_seed(SEED, "grpo", iteration, 0)
        rollouts = engine.sample(
            policy, prompts, group_size=GROUP_SIZE, sampling=SAMPLING, seed=seed
        )
        # Score and credit: each caption against its siblings.
        rewards = rubric.score(rollouts).values.view(PROMPTS, GROUP_SIZE, -1)  # [B, G, K]
        advantages = group_advantages(rewards, rubric.weights, normalize_std=True, eps=1e-4)
        # Update: one on-policy step, held to the reference.
        with torch.no_grad():
            reference = engine.reference_logprobs(policy, rollouts)  # [N, T]
        tokens = engine.logprobs(policy, rollouts)
        weights = token_weights(tokens.mask, aggregation="sequence_mean",
                                num_sequences=len(rollouts), num_tokens=int(tokens.mask.sum()),
                                max_tokens=SAMPLING.max_new_tokens)  # fmt: skip
        policy_loss = grpo_loss(tokens.logprobs, None, advantages.values.flatten(), weights,
                                clip_eps_low=CLIP_EPS, clip_eps_high=CLIP_EPS)  # fmt: skip
        kl = kl_penalty(tokens.logprobs, reference, weights, estimator="k3")
        loss = policy_loss.loss + KL_COEF * kl.penalty
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(parameters, GRAD_CLIP)
        factor = warmup_cosine(iteration, ITERATIONS, warmup=0.05, final=0.1)
        optimizer.param_groups[0]["lr"] = LR * factor
        optimizer.step()
        yield {"reward": rewards.mean().item(), "loss": loss.item(), "grad_norm": norm.item()}


if __name__ == "__main__":
    for number, row in enumerate(train(load_tiny()), start=1):
        print(number, "  ".join(f"{name} {value:.4f}" for name, value in row.items()))
