"""Learning from corrections: what somebody has put right becomes likelier than what was wrong.

A pair is a prompt with the caption that is right (``target``) and the one that a model wrote
(``rejected``); ``data=folder`` reads them from an album's corrections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MinLen
from jaxtyping import Float
from torch import Tensor

from repic import distributed
from repic.data.contents import dataset_content
from repic.phases.context import Context, TrainedModel
from repic.phases.phase import VALIDATION_CURVES, Curve
from repic.phases.randomness import stream_seed
from repic.phases.sft import SftModule, SupervisedPhase
from repic.rl.preferences import preference_loss, preference_margin
from repic.types import Example
from repic.values import Positive

PhotoCounts = Annotated[Sequence[Annotated[int, Ge(0), Le(99)]], MinLen(1)]
NO_PAIRS = (
    "data.train: no example has an answer that is worse; preferences are an album's corrections:"
    " data=folder data.root=<album> data.train_photos=<album>/corrections.jsonl"
)


class DpoModule(SftModule):
    """The loss of direct preference optimization, averaged over an iteration's pairs.

    Args:
        beta: see ``preference_margin``.
        settings: see ``SftModule``.
    """

    def __init__(self, *, beta: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.beta = beta
        self.policy.freeze_reference()
        self.margin, self.num_right = 0.0, 0.0

    def training_step(self, examples: list[Example], batch_idx: int) -> Tensor:
        """Return the loss of all pairs, summed."""
        with self.policy.as_reference():
            reference = self._logprobs(examples)
        margins = preference_margin(self._logprobs(examples), reference, beta=self.beta)
        loss = preference_loss(margins).sum()
        self.nll += loss.item()
        self.weight += len(examples)
        self.margin += margins.sum().item()
        self.num_right += (margins > 0).sum().item()
        return loss

    def _logprobs(self, examples: Sequence[Example]) -> Float[Tensor, "N 2"]:
        """Of both answers of each pair; the better one comes first."""
        answers = [text for example in examples for text in (example.target, example.rejected)]
        twice = [example for example in examples for _ in range(2)]
        tokens = self.engine.target_logprobs(self.policy, twice, answers)
        self.num_tokens += int(tokens.mask.sum()) if torch.is_grad_enabled() else 0
        return tokens.logprobs.masked_fill(~tokens.mask, 0.0).sum(-1).view(-1, 2)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average over the pairs of all ranks."""
        pairs = max(distributed.total(self.weight, self.device), 1.0)
        sums = {"margin": self.margin, "accuracy": self.num_right}
        means = {key: distributed.total(value, self.device) / pairs for key, value in sums.items()}
        super().on_before_optimizer_step(optimizer)
        self.metrics |= means
        self.margin, self.num_right = 0.0, 0.0


@dataclass(frozen=True, kw_only=True)
class DpoPhase(SupervisedPhase):
    """Learn from pairs of captions, of which somebody has said which is right.

    Attributes:
        counts: numbers of friends in the photos; there may be none.
        beta: see ``preference_margin``.
    """

    name = "dpo"
    label = "+ preferences"
    short = "DPO"
    strategies = ("auto", "ddp", "fsdp")
    curves = (*VALIDATION_CURVES, Curve("Pairs told apart", r"dpo/(accuracy)"))

    counts: PhotoCounts
    beta: Positive

    def check(self, context: Context) -> None:
        super().check(context)
        self.check_examples(context, self.counts, paired=True)
        asked = {"counts": self.counts, "size": 1, "seed": 0, "paired": True}
        if not context.dataset(split="train", **asked)[0].rejected:
            raise ValueError(NO_PAIRS)

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        asked = {"counts": self.counts, "size": self.iterations * self.batch_size, "paired": True}
        seed = stream_seed(context.seed, "dpo")
        dataset = context.dataset(split="train", seed=seed, **asked)
        return self.fit(
            context,
            start,
            dataset,
            validate=context.validate,
            module=partial(DpoModule, beta=self.beta),
            content=lambda: dataset_content(dataset, context.prompt.messages),
        )
