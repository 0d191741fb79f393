"""Reinforcement learning with groups of rollouts.

GRPO, https://arxiv.org/abs/2402.03300, algorithm 1, as an outer loop of one iteration per batch of
prompts. Deviations:

1. The reference is the model that the phase starts from, or, if ``kl_control`` says so, the policy
   of an iteration every so often.
2. There are no mini-batches: each of the ``num_updates`` steps takes all rollouts of the iteration.
   So the first one is on-policy by construction, its log-probabilities are the old ones of those
   that follow, and no pass is made only to compute them.
3. Advantages, how tokens are averaged, and the KL estimator are the configuration's choice.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from repic import distributed
from repic.models.engine.checks import check_engine
from repic.phases.credit import Credit, rollout_kl
from repic.phases.guards import Guards, GuardState, RunStopped
from repic.phases.monitor import IterationListener
from repic.phases.optimization import clip_or_drop, set_learning_rate
from repic.phases.randomness import stream_seed
from repic.phases.resampling import ReplacementPrompts, ScoredGroups, dynamic_sampling
from repic.phases.work import enough_memory, work_done
from repic.rl.aggregation import token_weights
from repic.rl.diagnostics import group_diagnostics, has_signal
from repic.rl.kl import kl_penalty
from repic.rl.kl_control import KlControl
from repic.rl.text_diagnostics import text_diagnostics
from repic.types import Example, Rollout


@dataclass
class MicroBatch:
    """Rollouts that go through the model together, with what later updates need again."""

    rollouts: list[Rollout]
    advantages: Tensor | None = None  # [N]; None until they are known
    old_logprobs: Tensor | None = None  # [N, T]; None until the first update has seen them
    ref_logprobs: Tensor | None = None  # [N, T]; None without a KL term


class GrpoModule(pl.LightningModule):
    """Sample groups, score them, credit each rollout against its siblings, update.

    Args:
        policy: what is trained; it knows its frozen reference.
        engine: samples, and computes log-probabilities.
        rubric: raw reward components of rollouts, and their weights.
        advantages: (rewards [B, G, K], weights [K]) to advantages [B, G].
        objective: the policy loss; see ``repic.rl.losses``.
        aggregation: how tokens are weighed; see ``repic.rl.aggregation``.
        mask_truncated: rollouts that did not end by themselves are compared with their siblings,
            and are no part of the loss.
        kl_estimator, kl_coef: the pull to the reference; 0 has no reference pass.
        kl_control: where the KL counts, and what becomes of coefficient and reference.
        guards: what stops or cools a run that goes wrong.
        spare: prompts in place of those without signal; None keeps them.
        optimizer: a function of the parameters.
        schedule: (iteration, total) to the factor of the learning rate.
        sampling: temperature and the like.
        group_size: rollouts per prompt.
        iterations: of the outer loop.
        num_updates: optimizer steps per iteration.
        micro_batch_tokens: most tokens that go through the model together in an update; the
            engine says what a rollout takes. Any number gives the same gradient.
        grad_clip: largest norm of the gradient.
        seed: decides all randomness.
        monitor: is told about every iteration.
    """

    def __init__(
        self,
        *,
        policy: Any,
        engine: Any,
        rubric: Any,
        advantages: Callable[[Tensor, Tensor], Tensor],
        objective: Callable[..., Any],
        aggregation: str,
        mask_truncated: bool,
        kl_estimator: str,
        kl_coef: float,
        kl_control: KlControl,
        guards: Guards,
        spare: ReplacementPrompts | None,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
        schedule: Callable[[int, int], float],
        sampling: Any,
        group_size: int,
        iterations: int,
        num_updates: int,
        micro_batch_tokens: int,
        grad_clip: float,
        seed: int,
        monitor: IterationListener,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy, self.engine, self.rubric, self.monitor = policy, engine, rubric, monitor
        self.advantages, self.objective, self.aggregation = advantages, objective, aggregation
        self.mask_truncated, self.spare = mask_truncated, spare
        self.kl_estimator, self.kl_coef, self.kl_control = kl_estimator, kl_coef, kl_control
        self.watch = GuardState(guards)
        self.make_optimizer, self.schedule, self.grad_clip = optimizer, schedule, grad_clip
        self.sampling, self.group_size, self.seed = sampling, group_size, seed
        self.iterations, self.num_updates = iterations, num_updates
        self.micro_batch_tokens = micro_batch_tokens
        self.iteration, self.num_skipped, self.is_checked = 0, 0, False
        self.metrics: dict[str, float] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.policy.trainable_parameters())

    def training_step(self, examples: list[Example], batch_idx: int) -> None:
        """One on-policy iteration: sample, score, credit, update."""
        self.engine.meter.take()  # forget what a validation took
        self.renew_reference()
        draw, resampled = self.draw(examples)
        drawn = time.perf_counter()
        portions = self.portions(draw.rollouts, draw.ref_logprobs)
        credit, conditions = self.credit(draw, portions)
        referred = time.perf_counter()
        advantages = credit.advantages(self.advantages)
        scatter_advantages(advantages.flatten().to(self.device), portions)
        credited = time.perf_counter()
        if not self.is_checked:  # once in a process: a resumed run is checked again
            check_engine(self.engine, self.policy, draw.groups)
            self.is_checked = True
        updating = time.perf_counter()
        numbers = self.update(portions)
        took = time.perf_counter() - updating + referred - drawn + draw.reference_s
        entropy = torch.tensor(numbers.pop("entropy"))
        self.metrics = {
            **group_diagnostics(
                credit.rewards,
                credit.weights,
                credit.names,
                lengths=torch.tensor([[len(r.completion_ids) for r in g] for g in draw.groups]),
                is_finished=torch.tensor([[r.finished for r in g] for g in draw.groups]),
                entropy=entropy,
            ),
            **credit.diagnostics(self.advantages, advantages),
            **text_diagnostics(
                [group[0].example for group in draw.groups],
                [[rollout.text for rollout in group] for group in draw.groups],
            ),
            **conditions,
            **{f"grpo/failed_frac/{name}": share for name, share in draw.failures.items()},
            # Sums over ranks, which the monitor averages.
            **{
                f"judge/{name}": distributed.world_size() * count
                for name, count in self.rubric.take_counts().items()
            },
            **resampled,
            **numbers,
            **work_done(
                self.policy,
                self.engine,
                draw.groups,
                {
                    "rollout": draw.rollout_s,
                    "reward": draw.reward_s + credited - referred,
                    "update": took,
                },
                has_reference=self.kl_coef > 0 or self.rubric.needs_reference,
                num_updates=self.num_updates,
            ),
        }
        kl = distributed.total(numbers["kl"], self.device) / distributed.world_size()
        self.kl_coef = self.kl_control.next_coef(self.kl_coef, kl)

    def renew_reference(self) -> None:
        """Let the present policy be the reference, where it is time to."""
        every = self.kl_control.refresh_every
        if every and self.iteration and self.iteration % every == 0:
            self.policy.freeze_reference()

    def draw(self, examples: list[Example]) -> tuple[ScoredGroups, dict[str, float]]:
        """Sample and score groups, with others in place of those without signal if so asked."""
        draw = self.sample(examples)
        if self.spare is None:
            return draw, {}

        def is_lively(rewards: Tensor) -> Tensor:
            credit = Credit(self.rubric.names, rewards, self.rubric.weights)
            return has_signal(credit.conditioned(self.rubric.conditions)[0].rewards, credit.weights)

        return dynamic_sampling(draw, self.sample, is_lively, self.spare, self.iteration)

    def sample(self, examples: list[Example], attempt: int = 0) -> ScoredGroups:
        """Sample a group for each prompt, and score it."""
        begun = time.perf_counter()
        with enough_memory("sampling", "lower phase.grpo.prompts", self.monitor):
            rollouts = self.engine.sample(
                self.policy,
                examples,
                group_size=self.group_size,
                sampling=self.sampling,
                seed=self.rollout_seed(*([attempt] if attempt else [])),
            )
        groups = as_groups(rollouts, self.group_size)
        sampled = time.perf_counter()
        reference = self.reference_of(rollouts) if self.rubric.needs_reference else None
        referred = time.perf_counter()
        scored = self.rubric.score(rollouts, reference)
        return ScoredGroups(
            groups,
            scored.values.view(len(groups), self.group_size, -1),
            rollout_s=sampled - begun,
            reference_s=referred - sampled,
            reward_s=time.perf_counter() - referred,
            failures=scored.failures(),
            ref_logprobs=reference,
        )

    def credit(
        self, draw: ScoredGroups, portions: list[MicroBatch]
    ) -> tuple[Credit, dict[str, float]]:
        """Return what the advantages are made of, and what to log of its conditions."""
        credit = Credit(self.rubric.names, draw.rewards, self.rubric.weights)
        credit, numbers = credit.conditioned(self.rubric.conditions)
        if self.kl_control.in_reward:
            credit = credit.with_kl(self.rollout_kls(portions), self.kl_coef)
        return credit, numbers

    def rollout_seed(self, *again: int) -> int:
        """Seed everything random in this iteration, and return the sampler's seed."""
        seed = stream_seed(self.seed, "grpo", self.iteration, distributed.rank(), *again)
        torch.manual_seed(seed)
        return seed

    def portions(
        self, rollouts: Sequence[Rollout], ref_logprobs: Sequence[Tensor] | None = None
    ) -> list[MicroBatch]:
        """Cut an iteration into what fits through the model at once.

        Args:
            ref_logprobs: of each rollout's tokens [T], where they are known already.
        """
        spans = self.engine.split(self.policy, rollouts, max_tokens=self.micro_batch_tokens)
        portions = [MicroBatch(list(rollouts[span])) for span in spans]
        for span, portion in zip(spans, portions, strict=True):
            if ref_logprobs is not None:
                rows = list(ref_logprobs[span])
                portion.ref_logprobs = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return portions

    def reference_of(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, ...]:
        """The reference's log-probabilities of each rollout's tokens [T]."""
        rows = []
        for portion in self.portions(rollouts):
            with self.enough_memory(portion, "the reference's part"):
                reference = self.reference_logprobs(portion)
            pairs = zip(reference, portion.rollouts, strict=True)
            rows += [row[: len(rollout.completion_ids)] for row, rollout in pairs]
        return tuple(rows)

    def rollout_kls(self, portions: Sequence[MicroBatch]) -> Tensor:
        """Each rollout's KL from the reference, whose log-probabilities the portions keep."""
        kls = []
        for portion in portions:
            with self.enough_memory(portion, "the reference's part"):
                reference = self.reference_logprobs(portion)
            kls.append(rollout_kl(portion.rollouts, reference, estimator=self.kl_estimator))
        return torch.cat(kls)

    def reference_logprobs(self, portion: MicroBatch) -> Tensor:
        """The reference's log-probabilities of a portion [N, T], computed once."""
        reference = portion.ref_logprobs
        if reference is None:
            reference = self.engine.reference_logprobs(self.policy, portion.rollouts)
            portion.ref_logprobs = reference
        return reference

    def is_trained(self, rollout: Rollout) -> bool:
        """Whether a rollout is part of the loss."""
        return rollout.finished or not self.mask_truncated

    def update(self, portions: list[MicroBatch]) -> dict[str, float]:
        """Take ``num_updates`` optimizer steps on one iteration's rollouts.

        Returns:
            Numbers of the last step; ``sampler_gap`` and ``entropy`` of the first one.
        """
        optimizer: Any = self.optimizers()
        factor = self.schedule(self.iteration, self.iterations) * self.watch.lr_factor
        set_learning_rate(optimizer, factor)
        rollouts = [rollout for portion in portions for rollout in portion.rollouts]
        lengths = [len(r.completion_ids) for r in rollouts if self.is_trained(r)]
        # Of all micro-batches and ranks: the denominators with which they add up to one batch.
        num_tokens = max(int(distributed.total(sum(lengths), self.device)), 1)
        num_sequences = max(int(distributed.total(len(lengths), self.device)), 1)
        sampled = sum(len(rollout.completion_ids) for rollout in rollouts)
        num_sampled = int(distributed.total(sampled, self.device))
        first: dict[str, float] = {}
        sums: dict[str, float] = {}
        norm, skipped_before = 0.0, self.num_skipped
        for _ in range(self.num_updates):
            sums = dict.fromkeys(("loss", "kl", "clip_frac", "entropy", "sampler_gap"), 0.0)
            optimizer.zero_grad()
            for number, portion in enumerate(portions, start=1):
                with (
                    self.enough_memory(portion, f"micro-batch {number} of {len(portions)}"),
                    self.gradient_exchange(is_last=number == len(portions)),
                ):
                    loss, parts = self.loss(portion, num_tokens, num_sequences, num_sampled)
                    # Lightning averages the ranks' gradients; the losses are shares of a sum.
                    self.manual_backward(loss * distributed.world_size())
                sums = {key: sums[key] + parts[key] for key in sums}
            norm, is_dropped = clip_or_drop(
                list(self.policy.trainable_parameters()),
                self.grad_clip,
                loss=distributed.total(sums["loss"], self.device),
            )
            self.num_skipped += is_dropped
            optimizer.step()
            first = first or sums
        ranks = distributed.world_size()  # the monitor averages over ranks what is a sum here
        return {
            **{key: ranks * value for key, value in sums.items()},
            **{key: ranks * first[key] for key in ("entropy", "sampler_gap")},
            "grad_norm": norm,
            "lr": optimizer.param_groups[0]["lr"],
            "kl_coef": self.kl_coef,
            "skipped": float(self.num_skipped),
            "skipped_frac": (self.num_skipped - skipped_before) / self.num_updates,
            **self.watch.numbers(),
        }

    def loss(
        self, portion: MicroBatch, num_tokens: int, num_sequences: int, num_sampled: int
    ) -> tuple[Tensor, dict[str, float]]:
        """A portion's share of the iteration's loss, and of the numbers to log."""
        tokens = self.engine.logprobs(self.policy, portion.rollouts, entropy=True)
        is_trained = torch.tensor([self.is_trained(r) for r in portion.rollouts])
        weights = token_weights(
            tokens.mask & is_trained.to(tokens.mask.device)[:, None],
            aggregation=self.aggregation,
            num_sequences=num_sequences,
            num_tokens=num_tokens,
            max_tokens=self.sampling.max_new_tokens,
        )
        policy_loss = self.objective(
            tokens.logprobs, portion.old_logprobs, portion.advantages, weights
        )
        loss, kl_sum = policy_loss.loss, torch.zeros(())
        if self.kl_coef:
            reference = self.reference_logprobs(portion)
            kl = kl_penalty(tokens.logprobs, reference, weights, estimator=self.kl_estimator)
            kl_sum = kl.token_sum
            if not self.kl_control.in_reward:
                loss = loss + self.kl_coef * kl.penalty
        if portion.old_logprobs is None:
            portion.old_logprobs = tokens.logprobs.detach()
        entropy = tokens.entropy.detach().masked_fill(~tokens.mask, 0.0).sum()
        parts = {
            "loss": loss.item(),
            "kl": kl_sum.item() / num_tokens,
            "clip_frac": policy_loss.num_clipped.item() / num_tokens,
            "entropy": entropy.item() / num_sampled,
            "sampler_gap": sampler_gap(tokens, portion.rollouts) / num_sampled,
        }
        return loss, parts

    def enough_memory(
        self, portion: MicroBatch, name: str
    ) -> contextlib.AbstractContextManager[None]:
        """Explain what to lower if a portion's update does not fit into memory."""
        tokens = sum(len(rollout.completion_ids) for rollout in portion.rollouts)
        return enough_memory(
            f"{name} of the update ({len(portion.rollouts)} captions of {tokens} tokens in all,"
            " behind their prompts)",
            f"lower phase.grpo.micro_batch_tokens from {self.micro_batch_tokens}, or set"
            " model.gradient_checkpointing=true",
            self.monitor,
        )

    @contextlib.contextmanager
    def gradient_exchange(self, *, is_last: bool) -> Iterator[None]:
        """Let ranks exchange gradients once, after the last portion."""
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel) and not is_last:
            with model.no_sync():
                yield
        else:
            yield

    def on_train_batch_end(self, outputs: Any, batch: list[Example], batch_idx: int) -> None:
        self.iteration += 1
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        kl_factor, why_stop = self.watch.look(self.metrics)
        self.kl_coef *= kl_factor
        self.monitor.iteration_end(self, self.metrics, optimizer)
        if why_stop:  # the trainer's callback saves
            raise RunStopped(
                f"grpo was stopped after iteration {self.iteration} of {self.iterations}, and is"
                f" saved up to there: {why_stop}; the same command goes on from there"
            )

    def extra_state(self) -> dict[str, Any]:
        state = {"num_skipped": self.num_skipped, "watch": self.watch.state()}
        if self.kl_control.target is not None or self.watch.num_cooled:
            state["kl_coef"] = self.kl_coef
        if self.kl_control.refresh_every:
            state["reference"] = self.policy.reference_weights()
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.num_skipped = state["num_skipped"]
        self.watch.load_state(state.get("watch", self.watch.state()))
        self.kl_coef = state.get("kl_coef", self.kl_coef)
        reference = self.policy.reference_weights()
        for name, value in state.get("reference", {}).items():
            reference[name].copy_(value)


def as_groups(rollouts: Sequence[Rollout], group_size: int) -> list[list[Rollout]]:
    """Cut rollouts into groups of siblings, and insist that siblings answer one prompt."""
    groups = [
        list(rollouts[first : first + group_size]) for first in range(0, len(rollouts), group_size)
    ]
    for group in groups:
        assert len(group) == group_size, "the engine returned an incomplete group"
        assert len({r.example.id for r in group}) == 1, "a group mixes rollouts of several prompts"
    return groups


def scatter_advantages(advantages: Tensor, portions: Sequence[MicroBatch]) -> None:
    """Give every portion its rollouts' advantages [N]."""
    sizes = [len(portion.rollouts) for portion in portions]
    for portion, part in zip(portions, advantages.split(sizes), strict=True):
        portion.advantages = part


def sampler_gap(tokens: Any, rollouts: Sequence[Rollout]) -> float:
    """Sum over tokens of how much the sampler's log-probabilities differ from the update's."""
    gap = 0.0
    for row, rollout in zip(tokens.logprobs.detach(), rollouts, strict=True):
        sampled = rollout.logprobs.to(row.device)
        gap += (row[: len(sampled)] - sampled).abs().sum().item()
    return gap
