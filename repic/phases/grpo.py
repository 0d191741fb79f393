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
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import pytorch_lightning as pl
import torch
from annotated_types import Predicate
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from repic import distributed
from repic.models.costs import NAIVE
from repic.models.engine.base import Engine
from repic.models.engine.checks import check_engine
from repic.models.engine.logprobs import TokenLogprobs
from repic.models.engine.sampling import NotFiniteError, Sampling
from repic.models.memory import StepPlan, training_of
from repic.models.policy import Policy
from repic.models.sharding import slice_like
from repic.phases.credit import Credit, of_all_ranks, rollout_kl
from repic.phases.guards import GUARD_SPECS, Guards, GuardState, RunStopped
from repic.phases.monitor import IterationListener
from repic.phases.optimization import MakeOptimizer, Schedule, clip_or_drop, set_learning_rate
from repic.phases.randomness import seed_torch, stream_seed
from repic.phases.resampling import ReplacementPrompts, ScoredGroups, dynamic_sampling
from repic.phases.work import device_memory, enough_memory, refuse_too_large, work_done
from repic.rewards.rubric import Rubric
from repic.rl.advantages import AdvantageFunction, Advantages, has_signal
from repic.rl.diagnostics import group_diagnostics
from repic.rl.kl import ESTIMATORS, kl_penalty
from repic.rl.kl_control import KlControl
from repic.rl.losses import AGGREGATIONS, PolicyLoss, token_weights
from repic.rl.text_diagnostics import text_diagnostics, text_measures
from repic.signals import Stopped
from repic.types import Example, Rollout
from repic.values import Amount, Coefficient, Count, Positive

log = logging.getLogger(__name__)

LOOKED_AT = 5  # iterations, after which it is said which rewards never applied


@dataclass(frozen=True, kw_only=True)
class GrpoSettings:
    """What an iteration does.

    Attributes:
        rubric: raw reward components of rollouts, and their weights.
        advantages: from raw components and weights to advantages; see ``repic.rl.advantages``.
        objective: the policy loss; see ``repic.rl.losses``.
        aggregation: how tokens are weighed; see ``repic.rl.losses.token_weights``.
        mask_truncated: rollouts that did not end by themselves are compared with their siblings,
            and are no part of the loss.
        kl_estimator, kl_coef: the pull to the reference; 0 has no reference pass.
        kl_control: where the KL counts, and what becomes of coefficient and reference.
        guards: what stops or cools a run that goes wrong.
        optimizer: a function of the parameters.
        schedule: (iteration, total) to the factor of the learning rate.
        sampling: temperature and the like.
        group_size: rollouts per prompt.
        iterations: of the outer loop.
        num_updates: optimizer steps per iteration.
        micro_batch_tokens: most tokens that go through the model together in an update; the
            engine says what a rollout takes. Any number gives the same gradient.
        grad_clip: largest norm of the gradient.
    """

    rubric: Rubric
    advantages: AdvantageFunction
    objective: Callable[..., PolicyLoss]
    aggregation: Annotated[str, Predicate(AGGREGATIONS.__contains__)]
    mask_truncated: bool
    kl_estimator: Annotated[str, Predicate(ESTIMATORS.__contains__)]
    kl_coef: Coefficient
    kl_control: KlControl
    guards: Guards
    optimizer: MakeOptimizer
    schedule: Schedule
    sampling: Sampling
    group_size: Amount
    iterations: Count
    num_updates: Count
    micro_batch_tokens: Count
    grad_clip: Positive

    @property
    def has_reference(self) -> bool:
        """Whether anything asks what the frozen reference makes of rollouts."""
        return self.kl_coef > 0 or self.rubric.needs_reference


@dataclass
class MicroBatch:
    """Rollouts that go through the model together, with what later updates need again."""

    rollouts: list[Rollout]
    advantages: Tensor  # [N]
    ref_logprobs: Tensor | None  # [N, T]; None without a reference
    place: int  # of the first one in its group
    old_logprobs: Tensor | None = None  # [N, T]; None until the first update has seen them

    @property
    def num_tokens(self) -> int:
        return sum(len(rollout.completion_ids) for rollout in self.rollouts)


class Denominators(NamedTuple):
    """Counts of all micro-batches and ranks, with which they add up to one batch.

    ``tokens`` and ``sequences`` are those trained on; ``sampled`` tokens are all.
    """

    tokens: int
    sequences: int
    sampled: int


class GrpoModule(pl.LightningModule):
    """Sample groups, score them, credit each rollout against its siblings, update.

    With a KL term the policy is held to what it is when the module is made.

    Args:
        settings: what an iteration does.
        policy: what is trained; it knows its frozen reference.
        engine: samples, and computes log-probabilities.
        replacements: prompts in place of those without signal; None keeps them.
        seed: decides all randomness.
        monitor: is told about every iteration.
    """

    def __init__(
        self,
        settings: GrpoSettings,
        *,
        policy: Policy,
        engine: Engine,
        replacements: ReplacementPrompts | None,
        seed: int,
        monitor: IterationListener,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings, self.iterations = settings, settings.iterations
        self.policy, self.engine, self.monitor = policy, engine, monitor
        self.replacements, self.seed = replacements, seed
        self.kl_coef, self.guard_state = settings.kl_coef, GuardState(settings.guards)
        self.iteration, self.num_skipped, self.is_checked = 0, 0, False
        self.seconds = defaultdict[str, float](float)  # of the iteration's parts
        self.metrics: dict[str, float] = {}
        # Weighted components that have applied to no caption so far.
        self.idle = {name for name in settings.rubric.names if settings.rubric.pays(name)}
        if settings.has_reference:
            policy.freeze_reference()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.settings.optimizer(self.policy.trainable_parameters())

    def configure_model(self) -> None:
        """Weights are shared out where they are loaded; a strategy that does so wants this."""

    def training_step(self, examples: list[Example], batch_idx: int) -> None:
        """One on-policy iteration: sample, score, credit, update."""
        self.refuse_too_large(examples)
        scored = self.sample_groups(examples)
        self.sample_ahead()
        reference = self.reference_logprobs(scored)
        credit = self.credit(scored, reference)
        advantages = credit.advantages(self.settings.advantages)
        micro_batches = self.micro_batches(scored.rollouts, advantages, reference)
        self.check_engine(scored)
        numbers = self.update(micro_batches)
        self.metrics = self.diagnostics(scored, credit, advantages, numbers)
        self.steer_kl(numbers["kl"])

    def on_train_batch_start(self, batch: list[Example], batch_idx: int) -> None:
        self.engine.meter.take()  # forget what a validation took
        self.seconds.clear()
        every = self.settings.kl_control.refresh_every
        if every and self.iteration and self.iteration % every == 0:
            self.policy.freeze_reference()

    def sample_groups(self, examples: list[Example]) -> ScoredGroups:
        """Sample and score groups, with others in place of those without signal if so asked."""
        reference = contextlib.nullcontext()
        if self.settings.rubric.needs_reference:
            reference = self.policy.gathered(reference=True)
        with self.policy.gathered(), reference:
            return self.sample_and_replace(examples)

    def sample_and_replace(self, examples: list[Example]) -> ScoredGroups:
        """Do so with whole weights: ranks decode, and replace, unequally often."""
        scored = self.sample(examples)
        if self.replacements is None:
            return scored

        def signal(rewards: Tensor) -> Tensor:
            credit = Credit.under_conditions(self.settings.rubric, rewards)
            advantages = credit.advantages(self.settings.advantages)
            return has_signal(advantages.values[distributed.own()])

        return dynamic_sampling(scored, self.sample, signal, self.replacements, self.iteration)

    def sample(self, examples: list[Example], attempt: int = 0) -> ScoredGroups:
        """Sample a group for each prompt, and score it."""
        group_size, rubric = self.settings.group_size, self.settings.rubric
        with (
            self.timed("rollout"),
            enough_memory("sampling", "lower phase.grpo.prompts", self.monitor),
        ):
            try:
                rollouts = self.engine.sample(
                    self.policy,
                    examples,
                    group_size=group_size,
                    sampling=self.settings.sampling,
                    seed=self.rollout_seed(attempt),
                )
            except NotFiniteError as error:
                raise self.not_finite(error, len(examples) * group_size) from error
        reference = self.score_reference(rollouts) if rubric.needs_reference else None
        with self.timed("reward"):
            listen = None if reference is None else self.score_reference
            scores = rubric.score(rollouts, reference, listen)
        shape = (len(examples), group_size, len(rubric.names))
        return ScoredGroups(
            as_groups(rollouts, group_size),
            scores.values.view(shape),
            reference,
            None if scores.failed is None else scores.failed.view(shape),
            scores.fallible,
        )

    def sample_ahead(self) -> None:
        """Let an engine with a lag draw the next iteration's captions during this one's update."""
        if not self.engine.lag or self.iteration + 1 == self.iterations:
            return
        datamodule: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        settings = self.settings
        with self.timed("rollout"):
            self.engine.begin(
                self.policy,
                datamodule.examples_of(self.iteration + 1),
                group_size=settings.group_size,
                sampling=settings.sampling,
            )

    def not_finite(self, error: NotFiniteError, num_rollouts: int) -> ValueError:
        """Log how many captions could not be drawn, and say why the run cannot go on."""
        now = self.iteration + 1
        self.monitor.log({"not_finite_frac": len(error.rows) / num_rollouts}, now)
        return ValueError(
            f"grpo was stopped in iteration {now} of {self.iterations}: {error}; what may help: a"
            " lower phase.grpo.optimizer.lr; the same command goes on after iteration"
            f" {self.monitor.saved}"
        )

    def rollout_seed(self, attempt: int) -> int:
        """Seed everything random in this iteration, and return the sampler's seed.

        It is one for all ranks: the sampler's numbers belong to prompts.
        """
        seed = stream_seed(self.seed, "grpo", self.iteration, attempt)
        seed_torch(seed, self.device)
        return seed

    def reference_logprobs(self, scored: ScoredGroups) -> tuple[Tensor, ...] | None:
        """The reference's log-probabilities of each rollout's tokens [T]; None without a KL."""
        if scored.ref_logprobs is not None or not self.kl_coef:
            return scored.ref_logprobs
        with self.policy.gathered(reference=True):
            return self.score_reference(scored.rollouts)

    def score_reference(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, ...]:
        """Score each rollout's tokens under the reference."""
        rows: list[Tensor] = []
        for span in self.spans(rollouts):
            part = rollouts[span]
            with self.timed("update"), self.enough_memory(part, "the reference's part"):
                logprobs = self.engine.reference_logprobs(self.policy, part)
            rows += [row[: len(r.completion_ids)] for row, r in zip(logprobs, part, strict=True)]
        return tuple(rows)

    def credit(self, scored: ScoredGroups, reference: Sequence[Tensor] | None) -> Credit:
        """Return what the advantages are made of."""
        credit = Credit.under_conditions(self.settings.rubric, scored.rewards)
        if not self.settings.kl_control.in_reward:
            return credit
        assert reference is not None, "a KL in the reward needs a coefficient above 0"
        estimator = self.settings.kl_estimator
        return credit.with_kl(
            rollout_kl(scored.rollouts, reference, estimator=estimator), self.kl_coef
        )

    def micro_batches(
        self,
        rollouts: Sequence[Rollout],
        advantages: Advantages,
        reference: Sequence[Tensor] | None,
    ) -> list[MicroBatch]:
        """Cut an iteration into what fits through the model at once.

        Args:
            rollouts: this rank's.
            advantages: of all ranks' prompts.
            reference: log-probabilities of this rank's rollouts; None without a KL.
        """
        values = advantages.values[distributed.own()].flatten().to(self.device)
        return [
            MicroBatch(
                list(rollouts[span]),
                values[span],
                None if reference is None else pad(reference[span]),
                span.start % self.settings.group_size,
            )
            for span in self.spans(rollouts)
        ]

    def spans(self, rollouts: Sequence[Rollout]) -> list[slice]:
        max_tokens = self.settings.micro_batch_tokens
        return self.engine.split(self.policy, rollouts, max_tokens=max_tokens)

    def refuse_too_large(self, examples: Sequence[Example]) -> None:
        """Refuse, once in a process, what will not fit into the device's memory."""
        capacity = device_memory(self.device)
        # Of slices it is not known how much is gathered at a time.
        if self.is_checked or capacity is None or self.policy.sharding is not None:
            return
        settings, is_packable = self.settings, self.policy.family.unpackable is None
        plan = StepPlan(
            prompts=len(examples),
            group_size=settings.group_size,
            prompt_tokens=max(len(p.input_ids) for p in self.policy.encoder.prompts(examples)),
            caption_tokens=settings.sampling.max_new_tokens,
            micro_batch_tokens=settings.micro_batch_tokens,
            training=training_of(self.policy, has_reference=settings.has_reference),
            scheme=self.engine.scheme if is_packable else NAIVE,
        )
        refuse_too_large(self.policy, plan, capacity, where=str(self.device))

    def check_engine(self, scored: ScoredGroups) -> None:
        """Check the engine once in a process: a resumed run is checked again."""
        if not self.is_checked:
            with self.policy.gathered():
                check_engine(self.engine, self.policy, scored.groups)
            self.is_checked = True

    def is_trained(self, rollout: Rollout) -> bool:
        """Whether a rollout is part of the loss."""
        return rollout.finished or not self.settings.mask_truncated

    def update(self, micro_batches: list[MicroBatch]) -> dict[str, float]:
        """Take ``num_updates`` optimizer steps on one iteration's rollouts.

        Returns:
            Numbers of the last step; ``sampler_gap`` and ``entropy`` of the first one.
        """
        optimizer: Any = self.optimizers()
        factor = self.settings.schedule(self.iteration, self.iterations)
        set_learning_rate(optimizer, factor * self.guard_state.lr_factor)
        denominators = self.denominators(micro_batches)
        first: dict[str, float] = {}
        sums: dict[str, float] = {}
        norm, skipped_before = 0.0, self.num_skipped
        for number in range(self.settings.num_updates):
            with self.timed("update"):
                optimizer.zero_grad()
                sums = self.accumulate_gradients(micro_batches, denominators, number)
                norm, is_dropped = clip_or_drop(
                    list(self.policy.trainable_parameters()),
                    self.settings.grad_clip,
                    loss=distributed.total(sums["loss"], self.device),
                )
                optimizer.step()
                self.num_skipped += is_dropped
            first = first or sums
        last = sums | {key: first[key] for key in ("entropy", "sampler_gap")}
        return {
            **distributed.totals(last),
            "grad_norm": norm,
            "lr": optimizer.param_groups[0]["lr"],
            "kl_coef": self.kl_coef,
            "skipped": float(self.num_skipped),
            "skipped_frac": (self.num_skipped - skipped_before) / self.settings.num_updates,
            **self.guard_state.numbers(),
        }

    def denominators(self, micro_batches: Sequence[MicroBatch]) -> Denominators:
        """Count the iteration's tokens and sequences over all ranks."""
        rollouts = [rollout for micro_batch in micro_batches for rollout in micro_batch.rollouts]
        lengths = [len(r.completion_ids) for r in rollouts if self.is_trained(r)]
        sampled = sum(micro_batch.num_tokens for micro_batch in micro_batches)
        return Denominators(
            tokens=max(int(distributed.total(sum(lengths), self.device)), 1),
            sequences=max(int(distributed.total(len(lengths), self.device)), 1),
            sampled=int(distributed.total(sampled, self.device)),
        )

    def accumulate_gradients(
        self, micro_batches: Sequence[MicroBatch], denominators: Denominators, update: int
    ) -> dict[str, float]:
        """Add up the gradients of all micro-batches, and their numbers to log.

        Args:
            micro_batches: this rank's.
            denominators: of all ranks.
            update: the number of the optimizer step.
        """
        sums = defaultdict[str, float](float)
        idle = self.idle_passes(len(micro_batches))
        for number, micro_batch in enumerate(micro_batches, start=1):
            part = f"micro-batch {number} of {len(micro_batches)}"
            ids = [rollout.example.id for rollout in micro_batch.rollouts]
            keys = ("dropout", self.iteration, update, micro_batch.place, *ids)
            seed_torch(stream_seed(self.seed, *keys), self.device)
            with (
                self.enough_memory(micro_batch.rollouts, part),
                self.gradient_exchange(is_last=number == len(micro_batches)),
            ):
                loss, numbers = self.loss(micro_batch, denominators)
                # Lightning averages the ranks' gradients; the losses are shares of a sum.
                self.manual_backward(loss * distributed.world_size())
            for key, share in numbers.items():
                sums[key] += share
        for _ in range(idle):
            tokens = self.engine.logprobs(self.policy, micro_batches[0].rollouts[:1])
            self.manual_backward(tokens.logprobs.sum() * 0.0)
        return sums

    def idle_passes(self, own: int) -> int:
        """How often this rank computes for nothing: sharded weights are gathered by all ranks."""
        return 0 if self.policy.sharding is None else distributed.most(own, self.device) - own

    def loss(
        self, micro_batch: MicroBatch, denominators: Denominators
    ) -> tuple[Tensor, dict[str, float]]:
        """A micro-batch's share of the iteration's loss, and of the numbers to log."""
        settings, rollouts = self.settings, micro_batch.rollouts
        tokens = self.engine.logprobs(self.policy, rollouts, entropy=True)
        is_trained = torch.tensor([self.is_trained(r) for r in rollouts], device=self.device)
        weights = token_weights(
            tokens.mask & is_trained[:, None],
            aggregation=settings.aggregation,
            num_sequences=denominators.sequences,
            num_tokens=denominators.tokens,
            max_tokens=settings.sampling.max_new_tokens,
        )
        corrected, shares = self.corrected(weights, micro_batch, tokens)
        policy_loss = settings.objective(
            tokens.logprobs, micro_batch.old_logprobs, micro_batch.advantages, corrected
        )
        loss, kl_sum = policy_loss.loss, torch.zeros(())
        if self.kl_coef:
            assert micro_batch.ref_logprobs is not None
            kl = kl_penalty(
                tokens.logprobs,
                micro_batch.ref_logprobs,
                weights,
                estimator=settings.kl_estimator,
            )
            kl_sum = kl.token_sum
            if not settings.kl_control.in_reward:
                loss = loss + self.kl_coef * kl.penalty
        if micro_batch.old_logprobs is None:
            micro_batch.old_logprobs = tokens.logprobs.detach()
        assert tokens.entropy is not None
        entropy = tokens.entropy.detach().masked_fill(~tokens.mask, 0.0).sum()
        return loss, {
            "loss": loss.item(),
            "kl": kl_sum.item() / denominators.tokens,
            "clip_frac": policy_loss.num_clipped.item() / denominators.tokens,
            "entropy": entropy.item() / denominators.sampled,
            "sampler_gap": sampler_gap(tokens, rollouts) / denominators.sampled,
            **{key: share / denominators.sampled for key, share in shares.items()},
        }

    def corrected(
        self, weights: Tensor, micro_batch: MicroBatch, tokens: TokenLogprobs
    ) -> tuple[Tensor, dict[str, float]]:
        """Return tokens' weights in the policy loss, and sums of numbers to log.

        They make up for a sampler that was not quite the policy, if the engine says how.
        """
        if (correction := self.engine.correction) is None:
            return weights, {}
        ours, mask = micro_batch.old_logprobs, tokens.mask
        sampled = pad([rollout.logprobs for rollout in micro_batch.rollouts]).to(mask.device)
        factors = correction.weights(tokens.logprobs if ours is None else ours, sampled, mask)
        return weights * factors, {
            "correction": factors[mask].sum().item(),
            "correction_capped_frac": float((factors[mask] >= correction.cap).sum()),
        }

    def diagnostics(
        self,
        scored: ScoredGroups,
        credit: Credit,
        advantages: Advantages,
        numbers: dict[str, float],
    ) -> dict[str, float]:
        """Gather what to log of an iteration, of all ranks' prompts.

        What the machine took is this rank's alone; the monitor puts that together.

        Args:
            scored: this rank's groups.
            credit, advantages: of all ranks' prompts.
            numbers: the update's.
        """
        groups = scored.groups
        lengths = torch.tensor([[len(r.completion_ids) for r in g] for g in groups])
        is_finished = torch.tensor([[r.finished for r in g] for g in groups])
        measures = text_measures(
            [group[0].example for group in groups],
            [[rollout.text for rollout in group] for group in groups],
        )
        rubric = self.settings.rubric
        unscored = of_all_ranks(scored.rewards.isnan()).float().mean(dim=(0, 1)).tolist()
        shares = dict(zip(rubric.names, unscored, strict=True))
        self.idle = {name for name in self.idle if shares[name] == 1}
        own = [name for name in rubric.own if rubric.pays(name)]
        judge = distributed.totals(rubric.take_counts())
        return {
            **group_diagnostics(
                credit.rewards,
                credit.weights,
                credit.names,
                lengths=of_all_ranks(lengths),
                is_finished=of_all_ranks(is_finished),
                entropy=torch.tensor(numbers["entropy"]),
            ),
            **credit.diagnostics(advantages),
            **text_diagnostics(distributed.lists(measures)),
            **self.failures(scored),
            **scored.numbers,
            **{f"grpo/inapplicable_frac/{name}": shares[name] for name in own},
            **{f"judge/{name}": count for name, count in judge.items()},
            **{key: value for key, value in numbers.items() if key != "entropy"},
            **work_done(
                self.policy,
                self.engine,
                groups,
                self.seconds,
                has_reference=self.settings.has_reference,
                num_updates=self.settings.num_updates,
            ),
        }

    def failures(self, scored: ScoredGroups) -> dict[str, float]:
        """Share of all ranks' rollouts for which a component could not be had, where it may be."""
        if scored.failed is None:
            return {}
        shares = of_all_ranks(scored.failed).float().mean(dim=(0, 1)).tolist()
        by_name = dict(zip(self.settings.rubric.names, shares, strict=True))
        return {f"grpo/failed_frac/{name}": by_name[name] for name in scored.fallible}

    def steer_kl(self, kl: float) -> None:
        """Set the next iteration's coefficient by this one's KL per token."""
        self.kl_coef = self.settings.kl_control.next_coef(self.kl_coef, kl)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to a part of the iteration."""
        begun = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - begun

    def enough_memory(
        self, rollouts: Sequence[Rollout], part: str
    ) -> contextlib.AbstractContextManager[None]:
        """Explain what to lower if a part of the update does not fit into memory."""
        tokens = sum(len(rollout.completion_ids) for rollout in rollouts)
        return enough_memory(
            f"{part} of the update ({len(rollouts)} captions of {tokens} tokens in all,"
            " behind their prompts)",
            f"lower phase.grpo.micro_batch_tokens from {self.settings.micro_batch_tokens}, or set"
            " model.gradient_checkpointing=true",
            self.monitor,
        )

    @contextlib.contextmanager
    def gradient_exchange(self, *, is_last: bool) -> Iterator[None]:
        """Let ranks exchange gradients once, after the last micro-batch."""
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel) and not is_last:
            with model.no_sync():
                yield
        else:
            yield

    def on_train_batch_end(self, outputs: Any, batch: list[Example], batch_idx: int) -> None:
        self.iteration += 1
        is_main = distributed.rank() == 0
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        kl_factor, why_stop = self.guard_state.look(self.metrics)
        self.kl_coef *= kl_factor
        try:
            self.monitor.iteration_end(self, self.metrics, optimizer)
        except Stopped:
            if not why_stop:  # which is the better reason, and told only once
                raise
        if self.idle and self.iteration == min(LOOKED_AT, self.iterations) and is_main:
            names = ", ".join(sorted(self.idle))
            log.warning("no caption of %d iterations had a reward of: %s", self.iteration, names)
        if why_stop:  # the trainer's callback saves
            raise RunStopped(
                f"grpo was stopped after iteration {self.iteration} of {self.iterations}, and is"
                f" saved up to there: {why_stop}; the same command goes on from there"
            )
        self.refuse_idle()

    def refuse_idle(self) -> None:
        """Stop where a reward of one's own has been no part of all that was learnt."""
        idle = sorted(self.idle.intersection(self.settings.rubric.own))
        guard = self.settings.guards.max_inapplicable_frac
        if idle and self.iteration == self.iterations and guard["limit"] is not None:
            raise RunStopped(
                f"grpo was stopped after iteration {self.iteration}, its last: no caption had a"
                f" reward of {', '.join(idle)}; what may help:"
                f" {GUARD_SPECS['max_inapplicable_frac'].mend};"
                " phase.grpo.guards.max_inapplicable_frac.limit=null lets it pass"
            )

    def extra_state(self) -> dict[str, Any]:
        state = {"num_skipped": self.num_skipped, "guards": self.guard_state.state()}
        if self.settings.kl_control.target is not None or self.guard_state.num_cooled:
            state["kl_coef"] = self.kl_coef
        if self.settings.kl_control.refresh_every:
            state["reference"] = self.policy.reference_weights()
        if self.idle:
            state["idle"] = sorted(self.idle)
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.num_skipped = state["num_skipped"]
        self.guard_state.load_state(state["guards"])
        self.kl_coef = state.get("kl_coef", self.kl_coef)
        reference = self.policy.reference_weights()
        for name, value in state.get("reference", {}).items():
            reference[name].copy_(slice_like(value, reference[name]))
        self.idle = set(state.get("idle", ()))
        self.refuse_idle()


def as_groups(rollouts: Sequence[Rollout], group_size: int) -> list[list[Rollout]]:
    """Cut rollouts into groups of siblings, and insist that siblings answer one prompt."""
    groups = [
        list(rollouts[first : first + group_size]) for first in range(0, len(rollouts), group_size)
    ]
    for group in groups:
        assert len(group) == group_size, "the engine returned an incomplete group"
        assert len({r.example.id for r in group}) == 1, "a group mixes rollouts of several prompts"
    return groups


def pad(rows: Sequence[Tensor]) -> Tensor:
    """Put rows [T] of several lengths into one tensor [N, T], with zeros behind them."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def sampler_gap(tokens: TokenLogprobs, rollouts: Sequence[Rollout]) -> float:
    """Sum over tokens of how much the sampler's log-probabilities differ from the update's."""
    gap = 0.0
    for row, rollout in zip(tokens.logprobs.detach(), rollouts, strict=True):
        sampled = rollout.logprobs.to(row.device)
        gap += (row[: len(sampled)] - sampled).abs().sum().item()
    return gap
