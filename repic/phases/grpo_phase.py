"""The phase of reinforcement learning: its prompts, its checkpoints, and how it is told."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from repic import distributed
from repic.phases.context import Context, TrainedModel
from repic.phases.credit import KL
from repic.phases.grpo import GrpoModule
from repic.phases.guards import Guards
from repic.phases.randomness import stream_seed
from repic.phases.resampling import ReplacementPrompts
from repic.phases.train import train
from repic.rl.aggregation import token_weights
from repic.rl.conditions import read_conditions
from repic.rl.kl import kl_penalty
from repic.rl.kl_control import KlControl


@dataclass(frozen=True, kw_only=True)
class GrpoPhase:
    """Reinforce captions that the rubric likes.

    Attributes:
        counts: numbers of concepts in the prompts, a list or weights by count.
        prompts: prompts of an iteration, over all ranks.
        checkpoint_every: iterations between checkpoints.
        val_every: iterations between validations; 0 has none.
        resample_attempts: how often an iteration's groups without signal are replaced by others.
        others: see ``GrpoModule``.
    """

    counts: Mapping[int, float] | Sequence[int]
    prompts: int
    iterations: int
    group_size: int
    num_updates: int
    micro_batch_tokens: int
    grad_clip: float
    checkpoint_every: int
    val_every: int
    sampling: Any
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    schedule: Callable[[int, int], float]
    rubric: Any
    advantages: Callable[[Tensor, Tensor], Tensor]
    objective: Callable[..., Any]
    aggregation: str
    mask_truncated: bool
    kl_estimator: str
    kl_coef: float
    kl_control: KlControl
    guards: Guards
    resample_attempts: int

    def check(self, context: Context) -> None:
        """Refuse impossible settings before anything is computed."""
        context.dataset(split="train", counts=self.counts, size=1, seed=0)
        names = self.rubric.names
        # They refuse groups and batches that are too small for them.
        self.advantages(torch.zeros(self.prompts, self.group_size, len(names)), self.rubric.weights)
        read_conditions(self.rubric.conditions, names)
        if self.resample_attempts < 0:
            raise ValueError(f"phase.grpo.resample_attempts: {self.resample_attempts}; 0 is never")
        self.kl_control.check(self.kl_coef)
        self.guards.check(self.kl_coef)
        if self.kl_control.in_reward and KL in names:
            raise ValueError("kl.in_reward: a reward already yields a component called 'kl'")
        model = context.settings["model"]
        if self.kl_control.refresh_every and model["lora"] and not model["train_vision"]:
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
        self.objective(weights, later, torch.ones(1), weights)

    def spare(self, context: Context) -> ReplacementPrompts | None:
        """Prompts in place of those that teach nothing, apart from the iterations' own."""
        if not self.resample_attempts:
            return None
        size = self.iterations * self.prompts * self.resample_attempts
        seed = stream_seed(context.seed, "grpo", "spare")
        examples = context.dataset(split="train", counts=self.counts, size=size, seed=seed)
        return ReplacementPrompts(
            examples=examples,
            prompts=self.prompts,
            attempts=self.resample_attempts,
            seed=context.seed,
        )

    def module(
        self, *, engine: Any, seed: int, spare: ReplacementPrompts | None
    ) -> Callable[..., GrpoModule]:
        """Return what builds the phase's module from ``policy`` and ``monitor``."""
        return partial(
            with_reference if self.kl_coef or self.rubric.needs_reference else GrpoModule,
            engine=engine,
            rubric=self.rubric,
            advantages=self.advantages,
            objective=self.objective,
            aggregation=self.aggregation,
            mask_truncated=self.mask_truncated,
            kl_estimator=self.kl_estimator,
            kl_coef=self.kl_coef,
            kl_control=self.kl_control,
            guards=self.guards,
            spare=spare,
            optimizer=self.optimizer,
            schedule=self.schedule,
            sampling=self.sampling,
            group_size=self.group_size,
            iterations=self.iterations,
            num_updates=self.num_updates,
            micro_batch_tokens=self.micro_batch_tokens,
            grad_clip=self.grad_clip,
            seed=seed,
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
            "grpo",
            context=context,
            start=start,
            folder=context.folder / "checkpoints" / "grpo",
            metrics=context.folder / "metrics.jsonl",
            dataset=dataset,
            make_module=self.module(
                engine=context.engine, seed=context.seed, spare=self.spare(context)
            ),
            iterations=self.iterations,
            batch_size=self.prompts,
            micro_batch=max(self.prompts // distributed.world_size(), 1),
            checkpoint_every=self.checkpoint_every,
            val_every=self.val_every,
            validate=context.validate,
            trainer={},
            show={
                "reward": "grpo/reward/total",
                "kl": "grpo/kl",
                "length": "grpo/length",
                "rollout s": "time/rollout_s",
                "update s": "time/update_s",
            },
        )


def with_reference(*, policy: Any, **arguments: Any) -> GrpoModule:
    """Hold the policy to what it is now, before a checkpoint moves it on."""
    policy.freeze_reference()
    return GrpoModule(policy=policy, **arguments)
