"""The phase of reinforcement learning: its prompts, its checkpoints, what it refuses."""

import logging
from dataclasses import dataclass
from functools import partial

import torch

from repic import distributed
from repic.data.contents import dataset_content
from repic.phases.context import Context, TrainedModel
from repic.phases.credit import KL
from repic.phases.grpo import GrpoModule, GrpoSettings
from repic.phases.phase import VALIDATION_CURVES, Curve, TrainingPhase
from repic.phases.randomness import stream_seed
from repic.phases.resampling import ReplacementPrompts
from repic.phases.train import train
from repic.rl.advantages import compute_advantages
from repic.rl.conditions import read_conditions
from repic.rl.kl import kl_penalty
from repic.rl.losses import PolicyLoss, token_weights
from repic.values import Amount, AmountOrNone, ConceptCounts

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GrpoPhase(GrpoSettings, TrainingPhase):
    """Reinforce captions that the rubric likes.

    Attributes:
        counts: numbers of concepts in the prompts, a list or weights by count.
        prompts: prompts of an iteration, over all ranks.
        resample_attempts: how often an iteration's groups without signal are replaced by others.
        others: see ``GrpoSettings`` and ``TrainingPhase``.
    """

    name = "grpo"
    label = "+ RL"
    short = "RL"
    strategies = ("auto", "ddp", "fsdp")
    curves = (
        Curve("Reward", r"grpo/reward/(.+)", among="grpo/advantage_share/"),
        *VALIDATION_CURVES,
        Curve("KL to the reference", r"grpo/(kl)"),
        Curve("Caption length, tokens", r"grpo/(length)"),
        Curve("Entropy, nats per token", r"grpo/(entropy)"),
        Curve("Share of clipped tokens", r"grpo/(clip_frac)"),
    )

    counts: ConceptCounts
    prompts: Amount
    resample_attempts: AmountOrNone

    def check(self, context: Context) -> None:
        """Refuse impossible settings before anything is computed."""
        self.check_examples(context, self.counts)
        self.check_shares("prompts", self.prompts, max(self.prompts // distributed.world_size(), 1))
        names = self.rubric.names
        # They refuse groups and batches that are too small for them.
        rewards = torch.zeros(min(self.prompts, 2), min(self.group_size, 2), len(names))
        advantages = compute_advantages(self.advantages, rewards, self.rubric.weights)
        if advantages.components is None:
            log.info(
                "advantage: the function does not say what each component adds; there will be no"
                " grpo/advantage_share"
            )
        read_conditions(self.rubric.conditions, names)
        self.kl_control.check(self.kl_coef)
        self.guards.check(self.kl_coef)
        if self.kl_control.in_reward and KL in names:
            raise ValueError("kl.in_reward: a reward already yields a component called 'kl'")
        if self.kl_control.refresh_every and context.trains_adapters_alone:
            raise ValueError(
                "kl.refresh_every: with adapters the reference is the model without them, which"
                " never changes; use refresh_every=0 or model.lora=null"
            )
        weights = token_weights(
            torch.ones(1, 1, dtype=torch.bool),
            aggregation=self.aggregation,
            num_sequences=1,
            num_tokens=1,
            max_tokens=1,
        )
        kl_penalty(weights, weights, weights, estimator=self.kl_estimator)
        later = weights if self.num_updates > 1 else None
        loss: object = self.objective(weights, later, torch.ones(1), weights)
        if not isinstance(loss, PolicyLoss) or loss.loss.ndim:
            raise ValueError(
                "phase.grpo.objective: the function returns no repic.rl.losses.PolicyLoss of one"
                " number: its tokens' terms times their weights, added up"
            )

    def replacements(self, context: Context) -> ReplacementPrompts | None:
        """Prompts in place of those that teach nothing, apart from the iterations' own."""
        if not self.resample_attempts:
            return None
        size = self.iterations * self.prompts * self.resample_attempts
        seed = stream_seed(context.seed, "grpo", "spare")
        return ReplacementPrompts(
            examples=context.dataset(split="train", counts=self.counts, size=size, seed=seed),
            prompts=self.prompts,
            attempts=self.resample_attempts,
            seed=context.seed,
        )

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        """Train from ``start``; what is finished already is not done again."""
        dataset = context.dataset(
            split="train",
            counts=self.counts,
            size=self.iterations * self.prompts,
            seed=stream_seed(context.seed, "grpo"),
        )
        return train(
            self,
            context,
            start,
            dataset,
            partial(
                GrpoModule,
                self,
                engine=context.engine,
                replacements=self.replacements(context),
                seed=context.seed,
            ),
            batch_size=self.prompts,
            micro_batch=max(self.prompts // distributed.world_size(), 1),
            validate=context.validate,
            content=lambda: dataset_content(dataset, context.prompt.messages),
            show={
                "reward": "grpo/reward/total",
                "kl": "grpo/kl",
                "length": "grpo/length",
                "rollout s": "time/rollout_s",
                "update s": "time/update_s",
            },
        )
