"""Supervised fine-tuning: imitate captions, token by token.

Also what pre-training does; only the examples differ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from repic import distributed, files
from repic.data.contents import dataset_content
from repic.models.engine.base import Engine
from repic.models.generation import decoding
from repic.models.policy import Policy
from repic.phases.context import Context, TrainedModel
from repic.phases.monitor import IterationListener
from repic.phases.optimization import MakeOptimizer, Schedule, clip_or_drop, set_learning_rate
from repic.phases.phase import VALIDATION_CURVES, Curve, TrainingPhase
from repic.phases.randomness import seed_torch, stream_seed
from repic.phases.train import train
from repic.types import Example, Examples
from repic.values import Amount, ConceptCounts, Positive

LOST = 10  # iterations in a row without a finite gradient, after which training stops


class SftModule(pl.LightningModule):
    """Next-token loss on the answer alone, averaged over all its tokens in an iteration's batch.

    A batch may come in micro-batches and on several ranks. Each gives the gradient of a *sum*
    over tokens; the sum over all of them is divided by the number of tokens just before the
    step, so that they add up to one big batch whatever the lengths.

    Answers of a few tokens (yes, no, a box) drown among long ones so. With a ``length_exponent``
    below 1 an answer of n tokens has the mean of its tokens' losses count n ** length_exponent
    times: with 0 all answers count alike.

    Args:
        policy: what is trained.
        engine: computes the log-probabilities of answers.
        optimizer: a function of the parameters.
        schedule: (iteration, total) to the factor of the learning rate.
        iterations: optimizer steps in all.
        micro_batches: portions that make up an iteration on this rank.
        grad_clip: largest norm of the gradient; a longer one is scaled down.
        seed: decides all randomness (dropout, and which positions jump).
        monitor: is told about every iteration.
        length_exponent: see above, from 0 to 1.
        position_jumps: positions of answers jump; see ``repic.models.engine.logprobs.draw_jumps``.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        engine: Engine,
        optimizer: MakeOptimizer,
        schedule: Schedule,
        iterations: int,
        micro_batches: int,
        grad_clip: float,
        seed: int,
        monitor: IterationListener,
        length_exponent: float = 1.0,
        position_jumps: float = 0.0,
    ) -> None:
        super().__init__()
        self.policy, self.engine, self.monitor = policy, engine, monitor
        self.make_optimizer, self.schedule = optimizer, schedule
        self.iterations, self.micro_batches = iterations, micro_batches
        self.grad_clip, self.seed = grad_clip, seed
        self.length_exponent, self.position_jumps = length_exponent, position_jumps
        self.iteration = 0
        self.num_skipped, self.skipped_in_row = 0, 0
        self.nll, self.weight, self.num_tokens, self.metrics = 0.0, 0.0, 0, {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.policy.trainable_parameters())

    def configure_model(self) -> None:
        """Weights are shared out where they are loaded; a strategy that does so wants this."""

    def on_train_batch_start(self, batch: list[Example], batch_idx: int) -> None:
        if batch_idx % self.micro_batches == 0:
            self.engine.meter.take()  # forget what a validation took
        ids = [example.id for example in batch]
        seed_torch(stream_seed(self.seed, "dropout", self.iteration, *ids), self.device)
        set_learning_rate(self.optimizers(), self.schedule(self.iteration, self.iterations))

    def training_step(self, examples: list[Example], batch_idx: int) -> torch.Tensor:
        """Return the negative log-probabilities of the answers' tokens, weighed and summed."""
        targets = [example.target for example in examples]
        tokens = self.engine.target_logprobs(
            self.policy, examples, targets, jumps=self.position_jumps
        )
        lengths = tokens.mask.sum(-1, keepdim=True).clamp(min=1).float()
        weights = lengths ** (self.length_exponent - 1)
        loss = -(tokens.logprobs.masked_fill(~tokens.mask, 0.0) * weights).sum()
        self.nll += loss.item()
        self.weight += (lengths * weights).sum().item()
        self.num_tokens += int(tokens.mask.sum())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the sum's gradient into the mean's; drop it when it or the loss is not finite."""
        num_tokens = distributed.total(self.num_tokens, self.device)
        # Lightning divided by the number of micro-batches, and ranks were averaged.
        weight = max(distributed.total(self.weight, self.device), 1.0)
        scale = self.micro_batches * distributed.world_size() / weight
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        loss = distributed.total(self.nll, self.device) / weight
        norm, is_dropped = clip_or_drop(parameters, self.grad_clip, loss=loss)
        self.num_skipped += is_dropped
        self.skipped_in_row = self.skipped_in_row + 1 if is_dropped else 0
        self.metrics = {
            "loss": loss,
            "grad_norm": norm,
            "tokens": num_tokens,
            "lr": optimizer.param_groups[0]["lr"],
            "skipped": float(self.num_skipped),
            **self.engine.meter.take(),
        }
        self.nll, self.weight, self.num_tokens = 0.0, 0.0, 0

    def on_train_batch_end(self, outputs: Any, batch: list[Example], batch_idx: int) -> None:
        if (batch_idx + 1) % self.micro_batches == 0:
            self.iteration += 1
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.monitor.iteration_end(self, self.metrics, optimizer)
            if self.skipped_in_row >= min(LOST, self.iterations):
                raise ValueError(
                    f"supervised training was stopped in iteration {self.iteration} of"
                    f" {self.iterations}: in {self.skipped_in_row} in a row loss or gradient was"
                    f" NaN or infinite (loss {self.metrics['loss']:.3g}, gradient's norm"
                    f" {self.metrics['grad_norm']:.3g}), so that nothing was learnt; what may help:"
                    " model.dtype=bfloat16 or float32, or a lower learning rate; the same command"
                    f" goes on after iteration {self.monitor.saved}"
                )

    def extra_state(self) -> dict[str, Any]:
        return {"num_skipped": self.num_skipped}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.num_skipped = state["num_skipped"]


@dataclass(frozen=True, kw_only=True)
class SupervisedPhase(TrainingPhase):
    """What the supervised phases have in common.

    Attributes:
        batch_size: examples of an iteration, over all ranks.
        micro_batch: examples in one forward pass at most, on each rank.
        grad_clip: largest norm of the gradient.
        optimizer, schedule: see ``SftModule``.
    """

    batch_size: Amount
    micro_batch: Amount
    grad_clip: Positive
    optimizer: MakeOptimizer
    schedule: Schedule

    @property
    def portion(self) -> int:
        """Examples in one forward pass."""
        return min(self.micro_batch, max(self.batch_size // distributed.world_size(), 1))

    def check(self, context: Context) -> None:
        """Refuse impossible settings before anything is computed."""
        self.check_shares("batch_size", self.batch_size, self.portion)

    def fit(
        self,
        context: Context,
        start: TrainedModel,
        dataset: Examples,
        *,
        validate: Callable[[Policy], Mapping[str, float]] | None,
        module: Callable[..., SftModule] = SftModule,
        content: Callable[[], str | None] | None = None,
        folder: Path | None = None,
        metrics: Path | None = None,
    ) -> TrainedModel:
        """Imitate the dataset's targets; see ``train`` for the arguments, ``module`` aside."""
        micro_batch = self.portion
        micro_batches = self.batch_size // distributed.world_size() // micro_batch
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
            self,
            context,
            start,
            dataset,
            make_module,
            batch_size=self.batch_size,
            micro_batch=micro_batch,
            validate=validate,
            show={"loss": f"{self.name}/loss"},
            accumulate_grad_batches=micro_batches,
            content=content,
            folder=folder,
            metrics=metrics,
        )


@dataclass(frozen=True, kw_only=True)
class SftPhase(SupervisedPhase):
    """Teach captions of a few concepts; jobs with equal settings share the result.

    Attributes:
        counts: numbers of concepts in the training captions, a list or weights by count.
    """

    name = "sft"
    label = "SFT only"
    short = "SFT"
    strategies = ("auto", "ddp", "fsdp")
    is_shared = True
    curves = (*VALIDATION_CURVES, Curve("SFT loss", r"sft/(loss)"))

    counts: ConceptCounts

    def check(self, context: Context) -> None:
        super().check(context)
        self.check_examples(context, self.counts, captioned=True)

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        asked = {"counts": self.counts, "size": self.iterations * self.batch_size}
        seed = stream_seed(context.seed, "sft")
        dataset = context.dataset(split="train", seed=seed, captioned=True, **asked)
        # Where the model lies decides nothing; what it holds is in its fingerprint. Nor does what
        # the data has beside training: systems on a cast share what toybox's runs have trained.
        parts = ("data.train", "data.prompt", "model", "engine", "phase.sft")
        if self.val_every:  # whose numbers are kept with the model
            parts += ("phase.validate", "metrics")
        settings = context.settings_key(*parts, without=["model.path"])
        content = dataset_content(dataset, context.prompt.messages)
        said = decoding(context.sampling)  # by the directory that comes out
        validated = context.validated() if self.val_every else None
        key = files.key_of([settings, context.seed, start.fingerprint, content, said, validated])
        folder = context.cache / "sft" / key
        metrics = folder.with_name(f"{key}.metrics.jsonl")
        # Rank 0 holds the lock; the others wait for its word on whether there is work to do.
        with files.only_one(folder.with_name(f"{key}.lock"), wanted=distributed.rank() == 0):
            trained = self.fit(
                context,
                start,
                dataset,
                validate=context.validate,
                folder=folder,
                metrics=metrics,
            )
        if distributed.rank() == 0:
            files.adopt_lines(metrics, context.folder / "metrics.jsonl", phase=self.name)
        return trained
