"""Supervised fine-tuning: imitate captions, token by token.

Also what pre-training does; only the examples differ.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from repic.phases import distributed
from repic.phases.monitor import Watcher
from repic.phases.optimization import clip_or_drop, set_learning_rate
from repic.phases.randomness import stream_seed
from repic.types import Example


class SftModule(pl.LightningModule):
    """Next-token loss on the answer alone, averaged over all its tokens in an iteration's batch.

    A batch may come in micro-batches and on several ranks. Each gives the gradient of a *sum*
    over tokens; the sum over all of them is divided by the number of tokens just before the
    step, so that they add up to one big batch whatever the lengths.

    Args:
        policy: what is trained.
        engine: computes the log-probabilities of answers.
        optimizer: a function of the parameters.
        schedule: (iteration, total) to the factor of the learning rate.
        iterations: optimizer steps in all.
        micro_batches: portions that make up an iteration on this rank.
        grad_clip: largest norm of the gradient; a longer one is scaled down.
        seed: decides all randomness (dropout).
        monitor: is told about every iteration.
    """

    def __init__(
        self,
        *,
        policy: Any,
        engine: Any,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
        schedule: Callable[[int, int], float],
        iterations: int,
        micro_batches: int,
        grad_clip: float,
        seed: int,
        monitor: Watcher,
    ) -> None:
        super().__init__()
        self.policy, self.engine, self.monitor = policy, engine, monitor
        self.make_optimizer, self.schedule = optimizer, schedule
        self.iterations, self.micro_batches = iterations, micro_batches
        self.grad_clip, self.seed = grad_clip, seed
        self.iteration = 0
        self.num_skipped = 0
        self.nll, self.num_tokens, self.metrics = 0.0, 0, {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.policy.trainable_parameters())

    def on_train_batch_start(self, batch: list[Example], batch_idx: int) -> None:
        place = batch_idx % self.micro_batches
        if place == 0:
            self.engine.meter.take()  # forget what a validation took
        torch.manual_seed(stream_seed(self.seed, "sft", self.iteration, place, distributed.rank()))
        set_learning_rate(self.optimizers(), self.schedule(self.iteration, self.iterations))

    def training_step(self, examples: list[Example], batch_idx: int) -> torch.Tensor:
        """Return the summed negative log-probability of the answers' tokens."""
        targets = [example.target for example in examples]
        tokens = self.engine.target_logprobs(self.policy, examples, targets)
        loss = -tokens.logprobs.masked_fill(~tokens.mask, 0.0).sum()
        self.nll += loss.item()
        self.num_tokens += int(tokens.mask.sum())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the sum's gradient into the mean's; drop it when it or the loss is not finite."""
        num_tokens = distributed.total(self.num_tokens, self.device)
        # Lightning divided by the number of micro-batches, and ranks were averaged.
        scale = self.micro_batches * distributed.world_size() / max(num_tokens, 1)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        loss = distributed.total(self.nll, self.device) / max(num_tokens, 1)
        norm, is_dropped = clip_or_drop(parameters, self.grad_clip, loss=loss)
        self.num_skipped += is_dropped
        self.metrics = {
            "loss": loss,
            "grad_norm": norm,
            "tokens": num_tokens,
            "lr": optimizer.param_groups[0]["lr"],
            "skipped": float(self.num_skipped),
            **self.engine.meter.take(),
        }
        self.nll, self.num_tokens = 0.0, 0

    def on_train_batch_end(self, outputs: Any, batch: list[Example], batch_idx: int) -> None:
        if (batch_idx + 1) % self.micro_batches == 0:
            self.iteration += 1
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.monitor.iteration_end(self, self.metrics, optimizer)

    def extra_state(self) -> dict[str, Any]:
        return {"num_skipped": self.num_skipped}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.num_skipped = state["num_skipped"]
