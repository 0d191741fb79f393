"""The phases of a method: what each trains on, with which module, and where the result is kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repic.data.module import Examples
from repic.phases import distributed, store
from repic.phases.context import Context, Stage
from repic.phases.credit import KL
from repic.phases.grpo import GrpoModule
from repic.phases.guards import Guards
from repic.phases.randomness import stream_seed
from repic.phases.resampling import Spare
from repic.phases.sft import SftModule
from repic.phases.train import train
from repic.rl.aggregation import token_weights
from repic.rl.conditions import read_conditions
from repic.rl.kl import kl_penalty
from repic.rl.kl_control import KlControl


@dataclass(frozen=True, kw_only=True)
class Imitation(ABC):
    """What the supervised phases have in common.

    Attributes:
        iterations: optimizer steps.
        batch_size: examples of an iteration, over all ranks.
        micro_batch: examples in one forward pass at most, on each rank.
        grad_clip: largest norm of the gradient.
        checkpoint_every: iterations between checkpoints.
        val_every: iterations between validations; 0 has none.
        optimizer, schedule: see ``SftModule``.
    """

    iterations: int
    batch_size: int
    micro_batch: int
    grad_clip: float
    checkpoint_every: int
    val_every: int
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    schedule: Callable[[int, int], float]

    @abstractmethod
    def run(self, context: Context, start: Stage) -> Stage:
        """Train from ``start``; what is finished already is not done again."""

    @abstractmethod
    def check(self, context: Context) -> None:
        """Refuse impossible settings before anything is computed."""

    def fit(
        self,
        phase: str,
        context: Context,
        start: Stage,
        folder: Path,
        *,
        metrics: Path,
        dataset: Examples,
        validate: Callable[[Any], Mapping[str, float]] | None,
        module: Callable[..., SftModule] = SftModule,
    ) -> Stage:
        """Imitate the dataset's targets; see ``train`` for the arguments, ``module`` aside."""
        share = max(self.batch_size // distributed.world_size(), 1)
        micro_batch = min(self.micro_batch, share)
        micro_batches = share // micro_batch
        make_module = partial(
            module,
            engine=context.engine,
            optimizer=self.optimizer,
            schedule=self.schedule,
            iterations=self.iterations,
            micro_batches=micro_batches,
            grad_clip=self.grad_clip,
            seed=context.seed,
        )
        return train(
            phase,
            context=context,
            start=start,
            folder=folder,
            metrics=metrics,
            dataset=dataset,
            make_module=make_module,
            iterations=self.iterations,
            batch_size=self.batch_size,
            micro_batch=micro_batch,
            checkpoint_every=self.checkpoint_every,
            val_every=self.val_every,
            validate=validate,
            trainer={"accumulate_grad_batches": micro_batches},
            show={"loss": f"{phase}/loss"},
        )


@dataclass(frozen=True, kw_only=True)
class SftPhase(Imitation):
    """Teach captions of a few concepts; jobs with equal settings share the result.

    Attributes:
        counts: numbers of concepts in the training captions, a list or weights by count.
    """

    counts: Mapping[int, float] | Sequence[int]

    def check(self, context: Context) -> None:
        context.dataset(split="train", counts=self.counts, size=1, seed=0)

    def run(self, context: Context, start: Stage) -> Stage:
        size = self.iterations * self.batch_size
        seed = stream_seed(context.seed, "sft")
        parts = ("data", "model", "engine", "sft")
        settings = {part: context.settings[part] for part in parts}
        key = store.key_of([settings, context.seed, start.fingerprint])
        folder = context.cache / "sft" / key
        metrics = folder.with_name(f"{key}.metrics.jsonl")
        # Rank 0 holds the lock; the others wait for its word on whether there is work to do.
        with store.only_one(folder.with_name(f"{key}.lock"), wanted=distributed.rank() == 0):
            dataset = context.dataset(split="train", counts=self.counts, size=size, seed=seed)
            stage = self.fit(
                "sft",
                context,
                start,
                folder,
                metrics=metrics,
                dataset=dataset,
                validate=context.validate,
            )
        if distributed.rank() == 0:
            store.adopt_lines(metrics, context.folder / "metrics.jsonl", phase="sft")
        return stage


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

    def spare(self, context: Context) -> Spare | None:
        """Prompts in place of those that teach nothing, apart from the iterations' own."""
        if not self.resample_attempts:
            return None
        size = self.iterations * self.prompts * self.resample_attempts
        seed = stream_seed(context.seed, "grpo", "spare")
        examples = context.dataset(split="train", counts=self.counts, size=size, seed=seed)
        return Spare(
            examples=examples,
            prompts=self.prompts,
            attempts=self.resample_attempts,
            seed=context.seed,
        )

    def module(self, *, engine: Any, seed: int, spare: Spare | None) -> Callable[..., GrpoModule]:
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

    def run(self, context: Context, start: Stage) -> Stage:
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
